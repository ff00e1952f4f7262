"""Scores of parts as a JSON file, and as a grid for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.strict import read_json
from fairseq_lottery.structured.anatomy import KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.structured.importance import Scores

_FORMAT = "fairseq_lottery scores 1"
_LARGEST = 1 << 28


def save_scores(
    path: Union[str, Path],
    anatomy: Anatomy,
    scores: Scores,
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write scores and a record of how they were made, atomically.

    Raises:
        LotteryError: a score is not finite.
    """
    plain = {kind: {n: v.tolist() for n, v in modules.items()} for kind, modules in scores.items()}
    said = {"heads": dict(anatomy.heads), "units": dict(anatomy.units), "scores": plain}
    try:
        text = json.dumps(
            {"format": _FORMAT, **said, "record": dict(record)}, indent=1, allow_nan=False
        )
    except ValueError:
        raise LotteryError("there are scores that are NaN or infinite") from None
    with replacing(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def is_scores(path: Union[str, Path]) -> bool:
    """Whether a file says that it holds scores."""
    try:
        found = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == _FORMAT


def load_scores(path: Union[str, Path]) -> tuple[Anatomy, Scores, dict[str, Any]]:
    """The model's parts, the scores in a file, and its record.

    Raises:
        LotteryError: there is no such file, or it is none of these.
    """
    try:
        found: Any = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"the scores in {path} cannot be read: {reason}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise LotteryError(
            f"{path} holds no scores of heads; make some with fairseq-lottery heads importance"
        )
    try:
        anatomy = Anatomy(found["heads"], found["units"])
        sizes = anatomy.sizes
        scores: Scores = {}
        for kind, modules in found["scores"].items():
            scores[kind] = {}
            for name, values in modules.items():
                one = torch.tensor(values, dtype=torch.float64)
                if kind not in KINDS or tuple(one.shape) != (sizes[kind][name],):
                    raise LotteryError(f"it has {values!r} for the {kind} of {name}"[:200])
                scores[kind][name] = one
        return anatomy, scores, dict(found["record"])
    except (
        LotteryError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise LotteryError(f"{path} is damaged ({error})") from None


def grid(values: Mapping[str, Any], digits: int = 4) -> Iterator[str]:
    """Lines of a table: a block for each type of attention, a row a layer, a column a head.

    Args:
        values: module -> numbers or bools, one for each head; a bool is shown as open or closed.
    """
    last = ""
    for name, row in values.items():
        if type_of(name) != last:
            last = type_of(name)
            yield last
        cells = row.tolist() if hasattr(row, "tolist") else list(row)
        yield f"  {layer_of(name):>3}  " + " ".join(_cell(one, digits) for one in cells)


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "o" if value else "."
    return f"{value:>{digits + 5}.{digits}g}"
