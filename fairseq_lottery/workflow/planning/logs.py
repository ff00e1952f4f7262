"""Read logs of trainings, which may be running, killed or resumed, in any format of fairseq."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

_SAVED = re.compile(r"Saved checkpoint .+ \(epoch \d+ @ (\d+) updates")
_END = re.compile(r"\| INFO \| (train|valid) \| (.+)$")
_METRICS = ("loss", "nll_loss", "ppl", "bleu", "sparsity", "growing_loss", "growing_bleu")


def last_saved(log: Path) -> int:
    """Return the update of the last saved checkpoint in a log; 0 if there is none."""
    try:
        updates = _SAVED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return 0
    return int(updates[-1]) if updates else 0


def tail(path: Path, size: int = 4000) -> str:
    """Return the last ``size`` bytes of a text file; empty if the file is missing."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def read_curves(log: Path) -> list[dict[str, Any]]:
    """Return rows of split, update, metric and value; of repeated rows the last one counts."""
    points: dict[tuple[str, int, str], float] = {}
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
                        points[split, int(update or 0), name] = values[metric]
    return [
        {"split": split, "update": update, "metric": metric, "value": value}
        for (split, update, metric), value in sorted(points.items())
    ]


def _values(text: str, split: str) -> dict[str, float]:
    """Parse ``loss 5.3 | ppl 12``, or a JSON object whose names start with the split."""
    if text.startswith("{"):
        try:
            pairs = json.loads(text).items()
        except json.JSONDecodeError:  # truncated by a kill
            return {}
        texts = {name.removeprefix(f"{split}_"): value for name, value in pairs}
    else:
        fields = [field.split() for field in text.split("|")]
        texts = {field[0]: field[1] for field in fields if len(field) == 2}
    values: dict[str, float] = {}
    for name, value in texts.items():
        try:
            values[name] = float(value)
        except (TypeError, ValueError):
            continue
    return values
