"""Learning curves out of fairseq's log, whatever its format and however often it was resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_END = re.compile(r"\| INFO \| (train|valid) \| (.+)$")
_METRICS = ("loss", "nll_loss", "ppl", "bleu", "sparsity", "growing_loss", "growing_bleu")


def read_curves(log: Path) -> list[dict[str, Any]]:
    """Rows of split, update, metric and value; what a resumed run wrote again counts once."""
    found: dict[tuple[str, int, str], float] = {}
    if not log.is_file():
        return []
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = _END.search(line)
            if match:
                split, values = match.group(1), _values(match.group(2), match.group(1))
                update = values.get("num_updates")
                for metric in _METRICS if update is not None else ():
                    if metric in values:
                        name = metric.replace("growing_", "")
                        found[split, int(update or 0), name] = values[metric]
    return [
        {"split": split, "update": update, "metric": metric, "value": value}
        for (split, update, metric), value in sorted(found.items())
    ]


def _values(text: str, split: str) -> dict[str, float]:
    """``loss 5.3 | ppl 12`` or a JSON object with the split before each name."""
    if text.startswith("{"):
        try:
            pairs = json.loads(text).items()
        except json.JSONDecodeError:  # cut off where the training was killed
            return {}
        given = {name.removeprefix(f"{split}_"): value for name, value in pairs}
    else:
        parts = [part.split() for part in text.split("|")]
        given = {part[0]: part[1] for part in parts if len(part) == 2}
    values: dict[str, float] = {}
    for name, value in given.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            continue
    return values
