"""Scores of parts as a JSON file, and as a grid for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.untrusted_parts import anatomy_in, read_stored, record_in
from fairseq_lottery.heads.measures.importance import Scores

_FORMAT = "fairseq_lottery scores 1"


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
        read_stored(path, _FORMAT, "scores")
    except LotteryError:
        return False
    return True


def load_scores(path: Union[str, Path]) -> tuple[Anatomy, Scores, dict[str, Any]]:
    """The model's parts, the scores in a file, and its record.

    Raises:
        LotteryError: there is no such file, or it is none of these.
    """
    what = "file of scores; make one with fairseq-lottery heads importance"
    found = read_stored(path, _FORMAT, what)
    try:
        anatomy = anatomy_in(found)
        given = found.get("scores")
        if not isinstance(given, dict) or not set(given) <= set(KINDS):
            raise LotteryError(f"its scores are not of {', '.join(KINDS)}")
        scores = {kind: _scores(kind, modules, anatomy) for kind, modules in given.items()}
        return anatomy, scores, record_in(found)
    except LotteryError as error:
        raise LotteryError(f"{path} is damaged: {error}") from None


def _scores(kind: str, modules: Any, anatomy: Anatomy) -> dict[str, Tensor]:
    """Module -> scores, a number for each of its parts."""
    sizes = anatomy.sizes[kind]
    if not isinstance(modules, dict) or not set(modules) <= set(sizes):
        raise LotteryError(f"it has scores of {kind} that its model does not have")
    for name, values in modules.items():
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if not numbers or len(values) != sizes[name]:
            raise LotteryError(f"it has not {sizes[name]} numbers for the {kind} of {name}")
    return {n: torch.tensor(values, dtype=torch.float64) for n, values in modules.items()}


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
