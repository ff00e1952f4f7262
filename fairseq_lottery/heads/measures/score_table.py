"""Scores of parts as a JSON file, and as a grid for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.parts_file import load_stored, read_stored, save_json
from fairseq_lottery.heads.measures.importance import Scores

_FORMAT = "fairseq_lottery scores 1"


def save_scores(
    path: Union[str, Path],
    anatomy: Anatomy,
    scores: Scores,
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write scores and a record of how they were made, atomically; refuses NaN and infinity."""
    values = [v for modules in scores.values() for v in modules.values()]
    if not all(bool(torch.isfinite(v).all()) for v in values):
        raise LotteryError("there are scores that are NaN or infinite")
    plain = {kind: {n: v.tolist() for n, v in modules.items()} for kind, modules in scores.items()}
    parts = {"heads": dict(anatomy.heads), "units": dict(anatomy.units)}
    content = {"format": _FORMAT, **parts, "scores": plain, "record": dict(record)}
    save_json(path, content, overwrite)


def is_scores(path: Union[str, Path]) -> bool:
    """Return whether a file says that it holds scores."""
    try:
        read_stored(path, _FORMAT, "scores")
    except LotteryError:
        return False
    return True


def load_scores(path: Union[str, Path]) -> tuple[Anatomy, Scores, dict[str, Any]]:
    """Return the model's parts, the scores in a file, and its record; see ``load_stored``."""

    def parse(anatomy: Anatomy, found: dict[str, Any]) -> tuple[Anatomy, Scores]:
        given = found.get("scores")
        if not isinstance(given, dict) or not set(given) <= set(KINDS):
            raise LotteryError(f"its scores are not of {', '.join(KINDS)}")
        return anatomy, {kind: _scores(kind, one, anatomy) for kind, one in given.items()}

    what = "file of scores; make one with fairseq-lottery heads importance"
    (anatomy, scores), record = load_stored(path, _FORMAT, what, parse)
    return anatomy, scores, record


def _scores(kind: str, modules: Any, anatomy: Anatomy) -> dict[str, Tensor]:
    """Return module -> scores, a number for each of its parts."""
    sizes = anatomy.sizes[kind]
    if not isinstance(modules, dict) or not set(modules) <= set(sizes):
        raise LotteryError(f"it has scores of {kind} that its model does not have")
    for name, values in modules.items():
        numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if not numbers or len(values) != sizes[name]:
            raise LotteryError(f"it has not {sizes[name]} numbers for the {kind} of {name}")
    return {n: torch.tensor(values, dtype=torch.float64) for n, values in modules.items()}


def grid(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines of a table: a block for each type of attention, a row a layer, a column a head.

    Args:
        values: module -> numbers or bools, one for each head; a bool is shown as open or closed.
    """
    last = ""
    for name, row in values.items():
        if type_of(name) != last:
            last = type_of(name)
            yield last
        cells = ("o" if v is True else "." if v is False else f"{v:>9.4g}" for v in row.tolist())
        yield f"  {layer_of(name):>3}  " + " ".join(cells)
