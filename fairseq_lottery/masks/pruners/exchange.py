"""Exchange kept weights for pruned ones at constant sparsity."""

from __future__ import annotations

import math
from typing import Callable, ClassVar, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.masks.lowest_scores import (
    prune_to_counts,
    prune_to_group_counts,
    ranked_scores,
)
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.pruner import Pruner, PrunerInput
from fairseq_lottery.masks.selection import count_to_prune
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options.nm_pattern import Pattern

#: share of the survivors that Evci et al. (2020) exchange at the start
FRACTION = 0.3


class Exchange(Pruner):
    """Base of pruners that prune some survivors of each matrix and regrow as many weights.

    Subclasses are dataclasses with the field ``fraction`` besides the required ones; their
    ``regrowth`` ranks the weights to regrow. Training is sparse from the first update on, under
    the mask of a ticket or a random one of sparsity ``final``.
    """

    only_shrinks: ClassVar[bool] = False
    keeps_pattern: ClassVar[bool] = True

    fraction: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise LotteryError(
                f"--prune-fraction {self.fraction:g} is outside (0, 1]; 0.3 exchanges 30 % of"
                " the survivors at --prune-start"
            )
        if self.start == self.end:
            raise LotteryError(
                f"--prune-start and --prune-end are both {self.end}; this pruner requires updates"
                " in between"
            )
        if self.start + self.every >= self.end:
            raise LotteryError(
                f"--prune-every {self.every} is not below the {self.end - self.start} updates from"
                " --prune-start to --prune-end, so no weights are exchanged; use fewer"
            )

    def regrowth(self, inputs: PrunerInput, name: str) -> Tensor:
        """Return scores of the matrix's shape; the pruned weights with the highest are regrown."""
        raise NotImplementedError

    def is_due(self, update: int) -> bool:
        """Return whether weights are exchanged after ``update`` updates: between start and end."""
        return self.start < update < self.end and (update - self.start) % self.every == 0

    def is_at_target(self, update: int) -> bool:
        """Return True: the sparsity is final from the first update on."""
        return True

    def sparsity_at(self, update: int) -> float:
        """Return the final sparsity, which the mask has from the first update on."""
        return self.final

    def fraction_at(self, update: int) -> float:
        """Return the share of survivors to exchange after ``update`` updates: half a cosine."""
        done = (update - self.start) / (self.end - self.start)
        # libraries differ in the last bits of a cosine
        return round(self.fraction / 2 * (1 + math.cos(math.pi * done)), 12)

    def first_mask(self, inputs: PrunerInput) -> Mask:
        """Return the mask of the ticket, or a random one that depends only on the seed."""
        if inputs.mask.pruned:
            return inputs.mask
        scores = {
            name: uniform(f"first-mask|{inputs.seed}|{name}", keep.numel()).reshape(keep.shape)
            for name, keep in inputs.mask.items()
        }
        return inputs.select(scores, self.final)

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune the lowest scores of each matrix, and regrow as many of its pruned weights.

        Under the scopes N:M and ``row``, as many weights are regrown in each group or row as are
        pruned in it. A weight that is pruned and regrown in the same step keeps its value, as in
        RigL's code.
        """
        mask, share = inputs.mask, self.fraction_at(inputs.update)
        counts = {
            name: count_to_prune(share, mask.size(name) - mask.pruned_in(name)) for name in mask
        }
        pruned = {name: mask.pruned_in(name) + count for name, count in counts.items()}
        scores = ranked_scores(inputs.scores, mask)
        kept = Mask(prune_to_counts(scores, mask, pruned), mask.protected)
        # the same selection, with the signs of the scores and of the mask reversed
        candidates = _complement(kept)
        regrowth = LazyTensors(lambda name: -self.regrowth(inputs, name).detach().float(), mask)
        scores = ranked_scores(regrowth, candidates)
        group = _group_function(inputs.scope.scope)
        if group is None:
            pruned = {name: candidates.pruned_in(name) + count for name, count in counts.items()}
            remaining = prune_to_counts(scores, candidates, pruned)
        else:
            of_groups = {n: keep.reshape(-1, group(keep)).sum(dim=1) for n, keep in mask.items()}
            remaining = prune_to_group_counts(scores, candidates, of_groups)
        entries = {name: kept[name] | (candidates[name] & ~remaining[name]) for name in mask}
        return Mask(entries, mask.protected)


def _group_function(scope: str) -> Optional[Callable[[Tensor], int]]:
    """Return tensor -> number of weights of a group whose number of survivors never changes.

    A group is M weights, or a row; None for scopes without groups.
    """
    pattern = Pattern.parse(scope)
    if pattern is not None:
        return lambda keep: pattern.group
    return (lambda keep: keep[0].numel()) if scope == "row" else None


def _complement(mask: Mask) -> Mask:
    """Return a mask that keeps what ``mask`` prunes; both keep protected rows."""
    entries = {name: ~keep for name, keep in mask.items()}
    for name, row in mask.protected.items():
        entries[name][row] = True
    return Mask(entries, mask.protected)
