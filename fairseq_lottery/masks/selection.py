"""Exact selection: turn scores into a mask that prunes exactly the requested number of weights.

* Which weights are pruned is the rule of ``fairseq_lottery.masks.lowest_scores``.
* The count is the sparsity times the prunable weights, halves rounded up; if components are pruned
  it is their weights plus the sparsity times the other weights.
* ``layer`` counts for each matrix, and all other scopes for the model;
  ``fairseq_lottery.masks.distributions`` divides the count of ``uniform`` and ``erk``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.distributions import DISTRIBUTIONS, distribute
from fairseq_lottery.masks.lowest_scores import (
    Ranked,
    prune_lowest,
    prune_to_counts,
    ranked_scores,
)
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.nm_selection import lowest_in_groups, select_pattern
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import Scope, check_scope
from fairseq_lottery.options.axes import SCOPE
from fairseq_lottery.options.nm_pattern import Pattern


def count_to_prune(sparsity: float, size: int) -> int:
    """Return ``sparsity`` times ``size``, rounded to the nearest integer, halves up."""
    return math.floor(Fraction(repr(float(sparsity))) * size + Fraction(1, 2))


def select(
    scores: Mapping[str, Tensor],
    current: Mask,
    sparsity: float,
    scope: str = Scope.scope,
    min_density: float = 0.0,
    excluded: Optional[Mask] = None,
) -> Mask:
    """Shrink ``current`` to ``sparsity`` by pruning the lowest scores.

    Args:
        scores: name -> finite scores of the matrix's shape, for every matrix of ``current``.
        current: mask before the selection.
        sparsity: pruned share of the prunable weights after the selection, in [0, 1).
        scope: one of ``SCOPES``, or N:M such as ``2:4``, which keeps N of every M consecutive
            weights of a row; see ``fairseq_lottery.masks.nm_selection``.
        min_density: minimum density of each matrix under ``global``.
        excluded: mask of pruned components, which ``current`` prunes too; the sparsity is a share
            of the weights that it keeps. Not possible with a scope N:M.

    Raises:
        LotteryError: sparsity or minimum density are out of range; scores are missing, complex, not
            finite, not reproducible or of another shape; the sparsity is below that of
            ``current``; or, for N:M, the sparsity is not 1 - N/M, M does not divide the rows, or
            ``excluded`` prunes weights.
    """
    check_sparsity(sparsity)
    check_scope(scope, min_density)
    scored = set(scores)
    missing = [name for name in current if name not in scored]
    if missing:
        raise LotteryError(f"there are no scores for {missing[0]}")

    ranked: Ranked = ranked_scores(scores, current)
    pattern = Pattern.parse(scope)
    if pattern is not None:
        pattern.refuse_other(sparsity)
        if excluded is not None and excluded.pruned:
            raise LotteryError(
                f"--scope {pattern} keeps {pattern.kept} of every {pattern.group} weights of every"
                " row, but --components prunes all weights of heads and FFN units; leave one out,"
                " or use --scope layer or global"
            )
        return select_pattern(current, ranked, pattern)
    return SCOPES[scope](current, ranked, sparsity, min_density, excluded)


def _each_matrix(
    current: Mask, ranked: Ranked, sparsity: float, min_density: float, excluded: Optional[Mask]
) -> Mask:
    """Prune every matrix to the sparsity (Brix et al. 2020)."""
    entries = {}
    for name in current:
        base = excluded.pruned_in(name) if excluded is not None else 0
        count = base + count_to_prune(sparsity, current.size(name) - base)
        _refuse_regrowth(count, current.pruned_in(name), name, sparsity)
        entries.update(prune_lowest([name], ranked, current.protected, count))
    return Mask(entries, current.protected)


def _all_matrices(
    current: Mask, ranked: Ranked, sparsity: float, min_density: float, excluded: Optional[Mask]
) -> Mask:
    """Prune all matrices by one threshold ("class-blind", See et al. 2016)."""
    base = excluded.pruned if excluded is not None else 0
    count = base + count_to_prune(sparsity, current.prunable - base)
    _refuse_regrowth(count, current.pruned, "the model", sparsity)
    if min_density:
        ranked = _with_min_density(current, ranked, count, min_density)
    return Mask(prune_lowest(list(current), ranked, current.protected, count), current.protected)


def _distributed(
    scope: str,
    current: Mask,
    ranked: Ranked,
    sparsity: float,
    min_density: float,
    excluded: Optional[Mask],
) -> Mask:
    """Prune every matrix to the sparsity that a distribution gives it."""
    base = excluded.pruned if excluded is not None else 0
    count = base + count_to_prune(sparsity, current.prunable - base)
    _refuse_regrowth(count, current.pruned, "the model", sparsity)
    counts = distribute(scope, current, current.prunable - count, excluded)
    return Mask(prune_to_counts(ranked, current, counts), current.protected)


def _each_row(
    current: Mask, ranked: Ranked, sparsity: float, min_density: float, excluded: Optional[Mask]
) -> Mask:
    """Prune every row of a matrix to the same sparsity (Sun et al. 2023).

    The count of the matrix is exact. If it is not a multiple of its rows, the first rows prune one
    weight more.
    """
    if excluded is not None and excluded.pruned:
        raise LotteryError(
            "--scope row prunes every row equally, but --components prunes whole rows; use --scope"
            " layer or global"
        )
    entries = {}
    for name in current:
        keep, row = current[name].clone(), current.protected.get(name)
        rows = [number for number in range(keep.shape[0]) if number != row]
        each, more = divmod(count_to_prune(sparsity, current.size(name)), max(len(rows), 1))
        counts = torch.full((len(rows),), each)
        counts[:more] += 1
        pruned = (~keep[rows]).flatten(1).sum(dim=1)
        if bool((pruned > counts).any()):
            number = rows[int((pruned > counts).nonzero()[0])]
            raise LotteryError(
                f"row {number} of {name} has more weights pruned already than --scope row prunes"
                f" at sparsity {sparsity:g}; masks only shrink"
            )
        keep[rows] = ~lowest_in_groups(ranked(name)[rows], keep[0].numel(), counts)
        entries[name] = keep
    return Mask(entries, current.protected)


#: name -> function that prunes a mask to a sparsity
SCOPES: dict[str, Callable[[Mask, Ranked, float, float, Optional[Mask]], Mask]] = SCOPE.registry(
    {
        "layer": _each_matrix,
        "global": _all_matrices,
        "row": _each_row,
        **{name: partial(_distributed, name) for name in DISTRIBUTIONS},
    }
)


def has_sparsity(mask: Mask, sparsity: float) -> bool:
    """Return whether exactly ``sparsity`` of all weights, or of each matrix, is pruned."""
    return mask.pruned == count_to_prune(sparsity, mask.prunable) or all(
        mask.pruned_in(name) == count_to_prune(sparsity, mask.size(name)) for name in mask
    )


def rounds_to(pruned: int, prunable: int, sparsity: float, matrices: int = 1) -> bool:
    """Return whether ``pruned`` of ``prunable`` weights is ``sparsity`` up to rounding.

    Args:
        matrices: number of counts that were rounded.
    """
    return abs(pruned - sparsity * prunable) <= 0.5 * matrices


def droppable(current: Mask, name: str, min_density: float) -> int:
    """Return how many weights of a matrix may be pruned under ``min_density``."""
    size = current.size(name)
    return max(size - math.ceil(Fraction(repr(float(min_density))) * size), current.pruned_in(name))


def _refuse_regrowth(count: int, pruned: int, owner: str, sparsity: float) -> None:
    if count < pruned:
        raise LotteryError(
            f"{pruned} weights of {owner} are pruned already, which exceeds the {count} of sparsity"
            f" {sparsity:g}; masks only shrink"
        )


def _with_min_density(current: Mask, ranked: Ranked, count: int, min_density: float) -> Ranked:
    """Return ranks under which every matrix keeps its best ``min_density`` share."""
    total = 0
    safe = {}
    for name in current:
        matrix_count = droppable(current, name, min_density)
        total += matrix_count
        safe.update(prune_lowest([name], ranked, current.protected, matrix_count))
    if count > total:
        raise LotteryError(
            f"the minimum density {min_density:g} allows to prune {total} weights, but the sparsity"
            f" requires {count}; lower one of them"
        )
    return lambda name: torch.where(safe[name], torch.tensor(math.inf), ranked(name))
