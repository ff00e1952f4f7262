"""Prune exactly a requested number of the lowest scores.

The rule gives the same bits on every rank and with every version of torch:

* the lowest scores are pruned; scores are compared in fp32;
* among equal scores the first one is pruned first, by alphabetical order of the matrix names and
  by row-major position within a matrix;
* pruned weights stay pruned and count; protected rows are never pruned.

The threshold is determined by sampling (Floyd & Rivest 1975): a strided sample brackets it, and one
pass counts the scores below the bracket and gathers those inside. Ties at its ends (pruned or
rounded weights) are counted, not gathered. The result is exact for every sample, and the scores are
never copied as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.nm_selection import lowest_in_groups

#: name -> fp32 scores of a matrix on the CPU, -inf where a weight is pruned already
Ranked = Callable[[str], Tensor]

#: every 509th score is in the sample; a prime visits all columns
_STRIDE = 509
#: small enough for the allocator to reuse memory
_CHUNK = 1 << 20


def ranked_scores(scores: Mapping[str, Tensor], current: Mask) -> Ranked:
    """Return the scores in the form in which they are compared.

    Raises:
        LotteryError: when called with a name, if its scores are complex, not finite or of another
            shape.
    """
    return partial(_ranked, scores, current, set())


def prune_lowest(
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


def prune_to_counts(ranked: Ranked, current: Mask, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return ``current`` with the lowest scores pruned until each matrix has its count pruned."""
    entries = {}
    for name in current:
        if counts[name] == current.pruned_in(name):
            entries[name] = current[name]
            continue
        # computed once: the scores of one matrix fit into memory
        scores = {name: ranked(name)}
        lowest = prune_lowest([name], scores.__getitem__, current.protected, counts[name])
        entries.update(lowest)
    return entries


def prune_to_group_counts(
    ranked: Ranked, current: Mask, counts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """As ``prune_to_counts``, with a count for each of the equal groups of consecutive weights.

    Args:
        counts: name -> number of weights that each group has pruned afterwards, at least those that
            it has pruned now, of shape (groups,).
    """
    entries = {}
    for name in current:
        group = current[name].numel() // counts[name].numel()
        lowest = lowest_in_groups(ranked(name), group, counts[name])
        entries[name] = ~lowest
        if name in current.protected:
            entries[name][current.protected[name]] = True
    return entries


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
