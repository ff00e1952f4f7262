"""Exact selection: turn scores into a mask that prunes exactly the requested number of weights.

The rule gives the same bits on every rank and with every version of torch:

* the lowest scores are pruned; scores are compared in fp32;
* among equal scores the first one is pruned first, by alphabetical order of the matrix names and
  by row-major position within a matrix;
* pruned weights stay pruned and count; protected rows are never pruned;
* the count is the sparsity times the prunable weights, halves rounded up; if components are pruned
  it is their weights plus the sparsity times the other weights;
* ``layer`` counts for each matrix, and all other scopes for the model;
  ``fairseq_lottery.masks.distributions`` divides the count of ``uniform`` and ``erk``.

The threshold is determined by sampling (Floyd & Rivest 1975): a strided sample brackets it, and one
pass counts the scores below the bracket and gathers those inside. Ties at its ends (pruned or
rounded weights) are counted, not gathered. The result is exact for every sample, and the scores are
never copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.distributions import DISTRIBUTIONS, distribute
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.nm_selection import lowest_in_groups, select_pattern
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import Scope, check_scope
from fairseq_lottery.options.axes import SCOPE
from fairseq_lottery.options.nm_pattern import Pattern

Ranked = Callable[[str], Tensor]

#: every 509th score is in the sample; a prime visits all columns
_STRIDE = 509
#: small enough for the allocator to reuse memory
_CHUNK = 1 << 20


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

    ranked: Ranked = partial(_ranked, scores, current, set())
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
        entries.update(_prune_lowest([name], ranked, current.protected, count))
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
    return Mask(_prune_lowest(list(current), ranked, current.protected, count), current.protected)


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
    return Mask(_prune_each(ranked, current, counts), current.protected)


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
        counts = torch.full((len(rows), 1), each)
        counts[:more] += 1
        pruned = (~keep[rows]).flatten(1).sum(dim=1, keepdim=True)
        if bool((pruned > counts).any()):
            number = rows[int((pruned > counts).flatten().nonzero()[0])]
            raise LotteryError(
                f"row {number} of {name} has more weights pruned already than --scope row prunes"
                f" at sparsity {sparsity:g}; masks only shrink"
            )
        scores = ranked(name)[rows].flatten(1)
        order = scores.sort(dim=1, stable=True).indices
        ranks = order.argsort(dim=1)
        keep[rows] = (ranks >= counts).view_as(keep[rows])
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


def prune_to_counts(
    scores: Mapping[str, Tensor], current: Mask, counts: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return ``current`` with the lowest scores pruned until each matrix has its count pruned."""
    return _prune_each(partial(_ranked, scores, current, set()), current, counts)


def prune_to_group_counts(
    scores: Mapping[str, Tensor], current: Mask, counts: Mapping[str, Tensor], group: int
) -> dict[str, Tensor]:
    """As ``prune_to_counts``, with a count for every ``group`` consecutive weights of a row.

    Args:
        counts: name -> number of weights that each group has pruned afterwards, at least those that
            it has pruned now.
    """
    entries = {}
    for name in current:
        lowest = lowest_in_groups(_ranked(scores, current, set(), name), group, counts[name])
        entries[name] = ~lowest
        if name in current.protected:
            entries[name][current.protected[name]] = True
    return entries


def _prune_each(ranked: Ranked, current: Mask, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """As ``prune_to_counts``, with scores that are -inf where a weight is pruned already."""
    entries = {}
    for name in current:
        if counts[name] == current.pruned_in(name):
            entries[name] = current[name]
            continue
        # computed once: the scores of one matrix fit into memory
        scores = {name: ranked(name)}
        lowest = _prune_lowest([name], scores.__getitem__, current.protected, counts[name])
        entries.update(lowest)
    return entries


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


def _ranked(scores: Mapping[str, Tensor], current: Mask, finite: set[str], name: str) -> Tensor:
    """Return the scores of a matrix in fp32, -inf where a weight is pruned already.

    Args:
        finite: matrices whose scores are known to be finite, to which ``name`` is added.
    """
    keep = current[name]
    values = scores[name]
    if values.shape != keep.shape:
        raise LotteryError(
            f"the scores of {name} have shape {tuple(values.shape)}, expected {tuple(keep.shape)}"
        )
    if values.is_complex():
        raise LotteryError(f"the scores of {name} are complex numbers, which have no order")
    values = values.detach().float().cpu()
    # a sum is finite unless it overflows or an entry is not; only then are entries checked
    is_finite = name in finite or math.isfinite(float(values.sum()))
    if not is_finite and not bool(torch.isfinite(values).all()):
        raise LotteryError(f"the scores of {name} are not all finite")
    finite.add(name)
    if current.pruned_in(name):
        values = torch.where(keep.cpu(), values, torch.tensor(-math.inf))
    return values.contiguous()


def _prunable_parts(scores: Tensor, row: Optional[int]) -> Iterator[Tensor]:
    """Yield the flat scores without the protected row, in chunks."""
    flat = scores.reshape(-1)
    if row is None:
        parts = [flat]
    else:
        width = scores[row].numel()
        parts = [flat[: row * width], flat[(row + 1) * width :]]
    for part in parts:
        if part.numel():
            yield from part.split(_CHUNK)


def _prune_lowest(
    names: Sequence[str], ranked: Ranked, protected: Mapping[str, int], count: int
) -> dict[str, Tensor]:
    """Return bool tensors that prune the ``count`` lowest scores of all named matrices."""
    if count == 0:
        return {n: torch.ones(ranked(n).shape, dtype=torch.bool) for n in names}
    threshold, below = _kth_smallest(names, ranked, protected, count)
    ties = count - below
    kept = {}
    for name in names:
        scores = ranked(name)
        keep = scores >= threshold
        if ties:
            equal = scores == threshold
            if name in protected:
                equal[protected[name]] = False
            ties -= _drop_first(keep, equal, ties)
        if name in protected:
            keep[protected[name]] = True
        kept[name] = keep
    if sum(keep.numel() - int(torch.count_nonzero(keep)) for keep in kept.values()) != count:
        raise LotteryError(
            f"the scores of {names[0]} change between two calls; a score must return the same"
            " values for the same weights, so seed its random numbers"
        )
    return kept


def _drop_first(keep: Tensor, equal: Tensor, count: int) -> int:
    """Prune the first ``count`` entries that are ``equal`` in ``keep``; return their number."""
    dropped = 0
    for kept, ties in zip(keep.view(-1).split(_CHUNK), equal.view(-1).split(_CHUNK)):
        first = torch.nonzero(ties)[: count - dropped, 0]
        kept[first] = False
        dropped += first.numel()
        if dropped == count:
            break
    return dropped


def _kth_smallest(
    names: Sequence[str], ranked: Ranked, protected: Mapping[str, int], k: int
) -> tuple[float, int]:
    """Return the k-th smallest of all scores (k from 1), and how many are smaller."""
    strided, total = [], 0
    for name in names:
        for part in _prunable_parts(ranked(name), protected.get(name)):
            strided.append(part[::_STRIDE].clone())
            total += part.numel()
    sample = torch.cat(strided).sort().values
    centre = (k - 0.5) / total * sample.numel()
    margin = 2 * math.sqrt(sample.numel())
    while True:
        low, high = math.floor(centre - margin), math.ceil(centre + margin)
        lower = float(sample[low]) if low >= 0 else -math.inf
        upper = float(sample[high]) if high < sample.numel() else math.inf
        upto = 0
        inside = []
        for name in names:
            for part in _prunable_parts(ranked(name), protected.get(name)):
                upto += int(torch.count_nonzero(part <= lower))
                inside.append(part[(part > lower) & (part < upper)])
        bracketed = torch.cat(inside)
        if upto < k <= upto + bracketed.numel():
            value = torch.kthvalue(bracketed, k - upto).values
            return float(value), upto + int(torch.count_nonzero(bracketed < value))
        end = lower if k <= upto else upper
        below = equal = 0
        for name in names:
            for part in _prunable_parts(ranked(name), protected.get(name)):
                below += int(torch.count_nonzero(part < end))
                equal += int(torch.count_nonzero(part == end))
        if below < k <= below + equal:
            return end, below
        margin *= 8


def _with_min_density(current: Mask, ranked: Ranked, count: int, min_density: float) -> Ranked:
    """Return ranks under which every matrix keeps its best ``min_density`` share."""
    total = 0
    safe = {}
    for name in current:
        matrix_count = droppable(current, name, min_density)
        total += matrix_count
        safe.update(_prune_lowest([name], ranked, current.protected, matrix_count))
    if count > total:
        raise LotteryError(
            f"the minimum density {min_density:g} allows to prune {total} weights, but the sparsity"
            f" requires {count}; lower one of them"
        )
    return lambda name: torch.where(safe[name], torch.tensor(math.inf), ranked(name))
