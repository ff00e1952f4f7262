"""Exact selection: scores in, the mask that prunes exactly the count asked out.

The rule, written so that every rank and every version of torch gives the same bits:

* the lowest scores are pruned; scores are compared as fp32;
* among equal scores the one that comes first is pruned first, by matrix in alphabetical
  order of the names and by row-major position within a matrix;
* what is pruned already stays pruned and counts; protected rows are never pruned;
* the count is the sparsity times the prunable weights, halves rounded up; with heads or units
  pruned it is their weights, and the sparsity times the rest.

The threshold is found by sampling (Floyd & Rivest 1975): a strided sample brackets it, one
pass counts what lies below the bracket and gathers the little that lies inside. Ties at its
ends (what is pruned already, rounded weights) are counted, not gathered. The result is exact
whatever the sample says; no copy of all scores is ever made.
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
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.nm_selection import select_pattern
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import Scope, check_scope
from fairseq_lottery.options.axes import SCOPE
from fairseq_lottery.options.nm_pattern import Pattern

Ranked = Callable[[str], Tensor]

#: every 509th score is a sample: a prime, so that it walks through all columns
_STRIDE = 509
#: small enough for the allocator to reuse the memory of the chunk before
_CHUNK = 1 << 20


def count_to_prune(sparsity: float, size: int) -> int:
    """Weights to prune out of ``size``: the nearest whole number, halves rounded up."""
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
        current: what stays so far.
        sparsity: the share of the prunable weights that is pruned afterwards, in [0, 1).
        scope: one of ``SCOPES``, or N:M, as ``2:4``, which keeps N of every M consecutive
            weights of a row, see ``fairseq_lottery.masks.nm_selection``.
        min_density: minimum density of each matrix under ``global``.
        excluded: what it prunes is pruned in ``current`` too, and counts as if it were not there:
            the sparsity is a share of what it keeps. A scope N:M has no such share: rows that are
            pruned whole have fewer left than it keeps.

    Raises:
        LotteryError: sparsity or minimum density out of range, scores missing, misshapen, complex,
            not finite or different at each look, or a sparsity below what is pruned already; for
            N:M also another sparsity than 1 - N/M, rows that M does not divide, and anything that
            is excluded.
    """
    check_sparsity(sparsity)
    check_scope(scope, min_density)
    known = set(scores)
    missing = [name for name in current if name not in known]
    if missing:
        raise LotteryError(f"there are no scores for {missing[0]}")

    ranked: Ranked = partial(_ranked, scores, current)
    pattern = Pattern.parse(scope)
    if pattern is not None:
        pattern.refuse_other(sparsity)
        if excluded is not None and excluded.pruned:
            raise LotteryError(
                f"--components prunes heads and FFN units whole, and --scope {pattern} keeps"
                f" {pattern.kept} of every {pattern.group} weights of every row; drop one of them,"
                " or prune weights of the other components by --sparsity under --scope layer or"
                " global"
            )
        return select_pattern(current, ranked, pattern)
    return SCOPES[scope](current, ranked, sparsity, min_density, excluded)


def _each_matrix(
    current: Mask, ranked: Ranked, sparsity: float, min_density: float, excluded: Optional[Mask]
) -> Mask:
    """Prune every matrix to the sparsity (Brix et al. 2020)."""
    entries = {}
    for name in current:
        gone = excluded.pruned_in(name) if excluded is not None else 0
        count = gone + count_to_prune(sparsity, current.size(name) - gone)
        _refuse_regrowth(count, current.pruned_in(name), name, sparsity)
        entries.update(_prune_lowest([name], ranked, current.protected, count))
    return Mask(entries, current.protected)


def _all_matrices(
    current: Mask, ranked: Ranked, sparsity: float, min_density: float, excluded: Optional[Mask]
) -> Mask:
    """Prune by one threshold for all matrices ("class-blind", See et al. 2016)."""
    gone = excluded.pruned if excluded is not None else 0
    count = gone + count_to_prune(sparsity, current.prunable - gone)
    _refuse_regrowth(count, current.pruned, "the model", sparsity)
    if min_density:
        ranked = _with_min_density(current, ranked, count, min_density)
    return Mask(_prune_lowest(list(current), ranked, current.protected, count), current.protected)


#: name -> what prunes a mask to a sparsity
SCOPES: dict[str, Callable[[Mask, Ranked, float, float, Optional[Mask]], Mask]] = SCOPE.registry(
    {"layer": _each_matrix, "global": _all_matrices}
)


def prune_to_counts(
    scores: Mapping[str, Tensor], current: Mask, counts: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return ``current`` with the lowest scores pruned until each matrix has its count pruned."""
    ranked: Ranked = partial(_ranked, scores, current)
    entries = {}
    for name in current:
        if counts[name] == current.pruned_in(name):
            entries[name] = current[name]
        else:
            entries.update(_prune_lowest([name], ranked, current.protected, counts[name]))
    return entries


def has_sparsity(mask: Mask, sparsity: float) -> bool:
    """Whether exactly ``sparsity`` is pruned: of all weights together, or of every matrix."""
    return mask.pruned == count_to_prune(sparsity, mask.prunable) or all(
        mask.pruned_in(name) == count_to_prune(sparsity, mask.size(name)) for name in mask
    )


def rounds_to(pruned: int, prunable: int, sparsity: float, matrices: int = 1) -> bool:
    """Whether ``sparsity`` is ``pruned`` of ``prunable`` weights but for rounding.

    Args:
        matrices: how many numbers of weights were rounded, each to a whole one.
    """
    return abs(pruned - sparsity * prunable) <= 0.5 * matrices


def droppable(current: Mask, name: str, min_density: float) -> int:
    """Return how many weights of one matrix may be pruned in all under ``min_density``."""
    size = current.size(name)
    return max(size - math.ceil(Fraction(repr(float(min_density))) * size), current.pruned_in(name))


def _refuse_regrowth(count: int, pruned: int, where: str, sparsity: float) -> None:
    if count < pruned:
        raise LotteryError(
            f"{where} has {pruned} weights pruned already, more than the {count} of sparsity"
            f" {sparsity:g}; masks only shrink"
        )


def _ranked(scores: Mapping[str, Tensor], current: Mask, name: str) -> Tensor:
    """Scores with what is pruned already ranked lowest."""
    keep = current[name]
    found = scores[name]
    if found.shape != keep.shape:
        raise LotteryError(
            f"the scores of {name} have shape {tuple(found.shape)}, not {tuple(keep.shape)}"
        )
    if found.is_complex():
        raise LotteryError(f"the scores of {name} are complex numbers, which have no order")
    found = found.detach().float().cpu()
    # a sum is finite unless an entry is not, or it overflows; only then look closer
    if not math.isfinite(float(found.sum())) and not bool(torch.isfinite(found).all()):
        raise LotteryError(f"the scores of {name} are not all finite")
    if current.pruned_in(name):
        found = torch.where(keep.cpu(), found, torch.tensor(-math.inf))
    return found.contiguous()


def _prunable_parts(scores: Tensor, row: Optional[int]) -> Iterator[Tensor]:
    """The flat scores without the protected row, in chunks."""
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
    """Keep-tensors that drop exactly the ``count`` lowest of all named matrices together."""
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
            f"the scores of {names[0]} differ from one look to the next; a score must give the"
            " same values for the same weights, so seed what is random in it"
        )
    return kept


def _drop_first(keep: Tensor, equal: Tensor, count: int) -> int:
    """Take the first ``count`` entries that are ``equal`` out of ``keep``; returns how many."""
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
    """The k-th smallest of all scores (k from 1), and how many are smaller."""
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
    droppable_in_all = 0
    safe = {}
    for name in current:
        count_here = droppable(current, name, min_density)
        droppable_in_all += count_here
        safe.update(_prune_lowest([name], ranked, current.protected, count_here))
    if count > droppable_in_all:
        raise LotteryError(
            f"the minimum density {min_density:g} leaves {droppable_in_all} weights to prune, and"
            f" {count} are asked; lower it or the sparsity"
        )
    return lambda name: torch.where(safe[name], torch.tensor(math.inf), ranked(name))
