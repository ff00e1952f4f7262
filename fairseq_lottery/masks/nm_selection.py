"""N:M selection: keep the N highest scores of every M consecutive weights of a row.

Rows are divided along the last dimension, that of inputs: then 2:4 is the pattern of sparse tensor
cores (Mishra et al. 2021, section 3) and of ``torch.sparse.to_sparse_semi_structured``. The rules
of ``select`` for ties, pruned weights and protected rows apply within each group of M. Protected
rows are kept entirely and do not have the pattern.

The rank of a weight is the number of weights in its group that are pruned before it. In small
groups it is counted by comparing pairs, in large ones by a stable sort, so every version of torch
gives the same bits.
"""

from __future__ import annotations

from typing import Callable, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.options.nm_pattern import Pattern

#: approximate number of weights per step
_CHUNK = 1 << 18
#: largest group in which pairs are compared
_COMPARED = 32


def select_pattern(current: Mask, ranked: Callable[[str], Tensor], pattern: Pattern) -> Mask:
    """Shrink ``current`` to the pattern.

    Args:
        ranked: name -> fp32 scores on the CPU, -inf where a weight is pruned already.

    Raises:
        LotteryError: M does not divide the rows of a matrix, or a group has fewer weights than
            the pattern keeps.
    """
    for name in current:
        _refuse_shape(current[name], name, pattern)
        _refuse_regrowth(current[name], name, pattern)
    entries = {}
    for name in current:
        entries[name] = ~lowest_in_groups(ranked(name), pattern.group, pattern.group - pattern.kept)
        if name in current.protected:
            entries[name][current.protected[name]] = True
    return Mask(entries, current.protected)


def densest(keep: Tensor, group: int) -> Optional[int]:
    """Return the maximum number of kept weights in ``group`` consecutive weights of a row.

    A mask fits N:M if this is at most N. None if ``group`` does not divide the rows.
    """
    if not keep.dim() or keep.shape[-1] % group:
        return None
    return int(_kept(keep, group).max())


def has_pattern(mask: Mask, pattern: Pattern) -> bool:
    """Return whether every group of every matrix keeps exactly N weights, but protected rows."""
    for name, keep in mask.items():
        if keep.shape[-1] % pattern.group:
            return False
        counts = kept_in_groups(keep, pattern.group) == pattern.kept
        if name in mask.protected:
            counts[mask.protected[name]] = True
        if not bool(counts.all()):
            return False
    return True


def pattern_of(mask: Mask) -> Optional[str]:
    """Return the exact pattern N:M, M up to 32, of all pruned matrices, or None."""
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


def kept_in_groups(keep: Tensor, group: int) -> Tensor:
    """Return the number of kept weights in every ``group`` consecutive weights, row by row."""
    return keep.reshape(*keep.shape[:-1], -1, group).sum(-1, dtype=torch.int16)


def _kept(keep: Tensor, group: int) -> Tensor:
    return kept_in_groups(keep, group).reshape(-1)


def _refuse_shape(keep: Tensor, name: str, pattern: Pattern) -> None:
    if keep.shape[-1] % pattern.group:
        raise LotteryError(
            f"--scope {pattern} requires rows of a multiple of {pattern.group} weights, those of"
            f" {name} have {keep.shape[-1]}; exclude the matrix by --keep-dense or --prunable"
        )


def _refuse_regrowth(keep: Tensor, name: str, pattern: Pattern) -> None:
    kept = int(_kept(keep, pattern.group).min())
    if kept < pattern.kept:
        raise LotteryError(
            f"{name} has {pattern.group - kept} of {pattern.group} consecutive weights pruned"
            f" already, but --scope {pattern} prunes {pattern.group - pattern.kept}; masks only"
            " shrink, so use a run that is dense or has the pattern"
        )


def lowest_in_groups(scores: Tensor, group: int, counts: Union[int, Tensor]) -> Tensor:
    """Return where a score is one of the lowest of its ``group`` consecutive ones; ties: the first.

    Args:
        counts: number of lowest scores, of all groups or of each one.
    """
    lowest = torch.empty(scores.shape, dtype=torch.bool)
    groups = scores.reshape(-1, group)
    limits = torch.as_tensor(counts).reshape(-1).expand(len(groups))
    if group > _COMPARED:
        ranks = groups.sort(dim=1, stable=True).indices.argsort(dim=1)
        return (ranks < limits[:, None]).view(scores.shape)
    size = max(_CHUNK // group, 1)
    parts = zip(lowest.view(-1, group).split(size), groups.split(size), limits.split(size))
    for out, part, limit in parts:
        columns = part.t().contiguous()  # one row per position in a group
        rank = torch.zeros(columns.shape, dtype=torch.int16)
        for position in range(1, group):
            is_first = columns[:position] <= columns[position]
            rank[position] += is_first.sum(0, dtype=torch.int16)
            rank[:position] += ~is_first
        out.copy_((rank < limit).t())
    return lowest
