"""Exchanging pruned weights for kept ones, at one sparsity."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.pruner import Pruner, PrunerInput
from fairseq_lottery.masks.selection import count_to_prune, prune_to_counts
from fairseq_lottery.masks.streams import uniform


class Exchange(Pruner):
    """Base of pruners that prune some survivors of each matrix and regrow as many weights.

    Subclasses are dataclasses with the field ``fraction`` beside the required ones, and say by
    ``regrowth`` which weights come back. Training is sparse from its first update: under the mask
    of a ticket, or under a random one at ``final``.
    """

    only_shrinks: ClassVar[bool] = False

    fraction: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise LotteryError(
                f"--prune-fraction {self.fraction:g} is outside (0, 1]; use for example 0.3, the"
                " share at --prune-start"
            )
        if self.start == self.end:
            raise LotteryError(
                f"--prune-start and --prune-end are both {self.end}; this pruner needs updates in"
                " between"
            )
        if self.start + self.every >= self.end:
            raise LotteryError(
                f"--prune-every {self.every} is too much for {self.end - self.start} updates from"
                " --prune-start to --prune-end: no weights would be exchanged; give fewer"
            )

    def regrowth(self, given: PrunerInput, name: str) -> Tensor:
        """Return scores of the matrix's shape; the highest of all pruned weights are regrown."""
        raise NotImplementedError

    def is_due(self, update: int) -> bool:
        """Whether weights are exchanged after ``update`` updates: not at the ends."""
        return self.start < update < self.end and (update - self.start) % self.every == 0

    def is_at_target(self, update: int) -> bool:
        """Every validation counts: the sparsity is final from the first update on."""
        return True

    def sparsity_at(self, update: int) -> float:
        """Return the sparsity of the mask, which is final from the first update on."""
        return self.final

    def fraction_at(self, update: int) -> float:
        """Share of the survivors that is exchanged after ``update`` updates: half a cosine."""
        done = (update - self.start) / (self.end - self.start)
        # rounded: libraries differ in the last bits of a cosine
        return round(self.fraction / 2 * (1 + math.cos(math.pi * done)), 12)

    def first_mask(self, given: PrunerInput) -> Mask:
        """Keep the mask of a ticket, or draw a random one that depends on the seed alone."""
        if given.mask.pruned:
            return given.mask
        scores = {
            name: uniform(f"first-mask|{given.seed}|{name}", keep.numel()).reshape(keep.shape)
            for name, keep in given.mask.items()
        }
        return given.select(scores, self.final)

    def next_mask(self, given: PrunerInput) -> Mask:
        """Prune the lowest scores of each matrix, and regrow as many of all pruned weights.

        A weight that is pruned and regrown at once keeps its value, as in the code of RigL.
        """
        mask, share = given.mask, self.fraction_at(given.update)
        counts = {
            name: count_to_prune(share, mask.size(name) - mask.pruned_in(name)) for name in mask
        }
        pruned = {name: mask.pruned_in(name) + count for name, count in counts.items()}
        kept = Mask(prune_to_counts(given.scores, mask, pruned), mask.protected)
        # the same selection, with the signs of the scores and of the mask reversed
        candidates = _complement(kept)
        pruned = {name: candidates.pruned_in(name) + count for name, count in counts.items()}
        ranks = LazyTensors(lambda name: -self.regrowth(given, name).detach().float(), mask)
        remaining = prune_to_counts(ranks, candidates, pruned)
        entries = {name: kept[name] | (candidates[name] & ~remaining[name]) for name in mask}
        return Mask(entries, mask.protected)


def _complement(mask: Mask) -> Mask:
    """Return the mask that keeps what ``mask`` prunes; protected rows are kept in both."""
    entries = {name: ~keep for name, keep in mask.items()}
    for name, row in mask.protected.items():
        entries[name][row] = True
    return Mask(entries, mask.protected)
