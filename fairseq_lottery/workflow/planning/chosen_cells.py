"""Cells that ``--only`` and ``--seeds`` request."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.planning.plan import Cell, Plan


def choose_cells(
    plan: Plan, only: Sequence[str], seeds: Optional[Sequence[int]] = None
) -> list[Cell]:
    """Return the cells that match patterns as ``slt@0.9``, ``slt`` or ``*@0.9#1``.

    Args:
        only: patterns; all cells match if it is empty.
        seeds: seeds of the cells, by default all.

    Raises:
        LotteryError: a pattern matches no cell, or the configuration lacks a seed.
    """
    unknown = set(seeds or ()) - {cell.seed for cell in plan.cells}
    if unknown:
        raise LotteryError(
            f"--seeds {min(unknown)} is not in {plan.configuration.source.path}; add it to its key"
            " seeds"
        )
    chosen = list(plan.cells)
    if only:
        named = [cell for pattern in only for cell in _named(plan, pattern)]
        chosen = [cell for cell in plan.cells if cell in named]
    return chosen if seeds is None else [cell for cell in chosen if cell.seed in seeds]


def _named(plan: Plan, pattern: str) -> list[Cell]:
    """Return the cells that match one pattern in data set, technique, sparsity and seed."""
    data, colon, rest = pattern.rpartition(":")
    name, _, seed = rest.partition("#")
    technique, _, sparsity = name.partition("@")
    if not (data or technique or sparsity or seed):
        raise LotteryError(f"--only {pattern!r} selects nothing; write technique@sparsity")
    matches = list(plan.cells)
    steps: list[tuple[str, Callable[[Cell], str], str]] = [
        *([("data:technique", lambda cell: cell.data, data)] if colon else []),
        ("technique@sparsity", lambda cell: cell.technique, technique),
        (f"{technique or '*'}@sparsity", lambda cell: f"{cell.sparsity:g}", _plain(sparsity)),
        (f"{name}#seed", lambda cell: str(cell.seed), seed),
    ]
    for form, text_of, wanted in steps:
        known = dict.fromkeys(map(text_of, matches))
        matches = [cell for cell in matches if fnmatch.fnmatchcase(text_of(cell), wanted or "*")]
        if not matches:
            values = ", ".join(known)
            raise LotteryError(
                f"--only {pattern} matches no cell; write {form} with one of {values}"
            )
    return matches


def _plain(sparsity: str) -> str:
    """Return a number in one form, ``0.8`` for ``.8`` and ``0.80``, and patterns unchanged."""
    try:
        return f"{float(sparsity):g}"
    except ValueError:
        return sparsity
