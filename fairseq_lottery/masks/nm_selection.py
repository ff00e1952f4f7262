"""N:M selection: of every M consecutive weights of a row the N of highest score stay.

Rows are cut along the input dimension, the last one: 2:4 is then the pattern that sparse tensor
cores read (Mishra et al. 2021, section 3), and what ``torch.sparse.to_sparse_semi_structured``
takes. What ``select`` says of ties, of what is pruned already and of protected rows holds within
each group of M. Protected rows are kept whole, so a matrix that has one has no pattern there.

A weight's rank is the number of those in its group that go before it. It is counted by comparing
pairs, without sorting, so every version of torch finds the same bits.
"""

from __future__ import annotations

from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.options.nm_pattern import Pattern

#: weights that are ranked at a time, about
_CHUNK = 1 << 18


def select_pattern(current: Mask, ranked: Callable[[str], Tensor], pattern: Pattern) -> Mask:
    """Shrink ``current`` to the pattern.

    Args:
        ranked: name -> fp32 scores on the CPU, -inf where a weight is pruned already.

    Raises:
        LotteryError: a matrix whose rows do not divide into groups, or a group that has less
            left than the pattern keeps.
    """
    for name in current:
        _refuse_shape(current[name], name, pattern)
        _refuse_regrowth(current[name], name, pattern)
    entries = {}
    for name in current:
        entries[name] = _highest(ranked(name), pattern)
        if name in current.protected:
            entries[name][current.protected[name]] = True
    return Mask(entries, current.protected)


def densest(keep: Tensor, group: int) -> Optional[int]:
    """The most weights that any ``group`` consecutive ones of a row keep.

    A mask fits N:M where this is N at most. None where rows do not divide into groups.
    """
    if not keep.dim() or keep.shape[-1] % group:
        return None
    return int(_kept(keep, group).max())


def pattern_of(mask: Mask) -> Optional[str]:
    """Return the pattern N:M, M up to 32, that every pruned matrix has to the weight; or None."""
    pruned = {name: keep for name, keep in mask.items() if mask.pruned_in(name)}
    for group in range(2, 33):
        counts = set()
        for name, keep in pruned.items():
            rows = torch.ones(keep.shape[0], dtype=torch.bool)
            if name in mask.protected:
                rows[mask.protected[name]] = False
            fits = keep.dim() > 1 and keep.shape[-1] % group == 0
            counts |= set(_kept(keep[rows], group).unique().tolist()) if fits else {group}
            if len(counts) > 1:
                break
        if len(counts) == 1 and not counts & {0, group}:
            return f"{counts.pop()}:{group}"
    return None


def _kept(keep: Tensor, group: int) -> Tensor:
    return keep.reshape(-1, group).sum(1, dtype=torch.int16)


def _refuse_shape(keep: Tensor, name: str, pattern: Pattern) -> None:
    if keep.shape[-1] % pattern.group:
        raise LotteryError(
            f"--scope {pattern} needs rows of a multiple of {pattern.group} weights, and those of"
            f" {name} have {keep.shape[-1]}; leave the matrix out by --keep-dense or --prunable"
        )


def _refuse_regrowth(keep: Tensor, name: str, pattern: Pattern) -> None:
    left = int(_kept(keep, pattern.group).min())
    if left < pattern.kept:
        raise LotteryError(
            f"{name} has {pattern.group - left} of {pattern.group} consecutive weights pruned"
            f" already, and --scope {pattern} prunes {pattern.group - pattern.kept}; masks only"
            " shrink, so rank a run that is dense or has the pattern"
        )


def _highest(scores: Tensor, pattern: Pattern) -> Tensor:
    """Keep-tensor of the N highest of each group; among equals the last ones stay."""
    keep = torch.empty(scores.shape, dtype=torch.bool)
    size = max(_CHUNK // pattern.group, 1) * pattern.group
    for out, part in zip(keep.view(-1).split(size), scores.reshape(-1).split(size)):
        places = part.view(-1, pattern.group).t().contiguous()  # one row for each place
        rank = torch.zeros(places.shape, dtype=torch.int16)
        for place in range(1, pattern.group):
            before = places[:place] <= places[place]
            rank[place] += before.sum(0, dtype=torch.int16)
            rank[:place] += ~before
        out.view(-1, pattern.group).copy_((rank >= pattern.group - pattern.kept).t())
    return keep
