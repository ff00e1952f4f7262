"""Scores of components as a JSON file, and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy, layer_of, type_of
from fairseq_lottery.heads.components.choice_file import names_format, save_json, stored_content
from fairseq_lottery.heads.measures.importance import Scores

_FORMAT = "fairseq_lottery scores 1"


def save_scores(
    path: Union[str, Path],
    anatomy: Anatomy,
    scores: Scores,
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write scores and a record of how they were made, atomically; refuse NaN and infinity."""
    values = [v for modules in scores.values() for v in modules.values()]
    if not all(bool(torch.isfinite(v).all()) for v in values):
        raise LotteryError("some scores are NaN or infinite")
    plain = plain_scores(scores)
    sizes = {"heads": dict(anatomy.heads), "units": dict(anatomy.units)}
    content = {"format": _FORMAT, **sizes, "scores": plain, "record": dict(record)}
    save_json(path, content, overwrite)


def plain_scores(scores: Scores, digits: int = 17) -> dict[str, dict[str, list[float]]]:
    """Return scores as JSON stores them, rounded to a number of significant digits."""

    def rounded(value: float) -> float:
        return value if digits >= 17 else float(f"{value:.{digits}g}")

    return {
        kind: {name: [rounded(value) for value in tensor.tolist()] for name, tensor in one.items()}
        for kind, one in scores.items()
    }


def is_scores(path: Union[str, Path]) -> bool:
    """Return whether a file names the format of scores."""
    return names_format(path, _FORMAT)


def load_scores(path: Union[str, Path]) -> tuple[Anatomy, Scores, dict[str, Any]]:
    """Return anatomy, scores and record in a file; see ``stored_content`` for errors."""
    description = "file of scores; make one with fairseq-lottery heads importance"
    with stored_content(path, _FORMAT, description) as (content, anatomy, record):
        return anatomy, read_scores(content.get("scores"), anatomy), record


def read_scores(scores: Any, anatomy: Anatomy) -> Scores:
    """Return scores of a file; raise ``LotteryError`` if they are malformed."""
    if not isinstance(scores, dict) or not set(scores) <= set(KINDS):
        raise LotteryError(f"scores must map {', '.join(KINDS)} to module -> numbers")
    return {kind: _scores(kind, modules, anatomy) for kind, modules in scores.items()}


def _scores(kind: str, modules: Any, anatomy: Anatomy) -> dict[str, Tensor]:
    """Return module -> scores, one for each component."""
    sizes = anatomy.sizes[kind]
    if not isinstance(modules, dict) or not set(modules) <= set(sizes):
        raise LotteryError(f"it has scores of {kind} that the model does not have")
    for name, values in modules.items():
        are_numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
        if not are_numbers or len(values) != sizes[name]:
            raise LotteryError(
                f"the scores of the {kind} of {name} must be {sizes[name]} numbers in a list"
            )
    return {n: torch.tensor(values, dtype=torch.float64) for n, values in modules.items()}


def grid(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines of a table: a block per type of attention, a row per layer, a column per head.

    Args:
        values: module -> numbers or bools, one for each head; a bool is shown as ``o`` (kept) or
            ``.`` (pruned).
    """
    last = ""
    for name, row in values.items():
        if type_of(name) != last:
            last = type_of(name)
            yield last
        cells = ("o" if v is True else "." if v is False else f"{v:>9.4g}" for v in row.tolist())
        yield f"  {layer_of(name):>3}  " + " ".join(cells)
