"""``Pruner``: the protocol of what changes a mask during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.masks.selection import select
from fairseq_lottery.options import Option, Pruning, Schedule, Scope, options, values

#: field of a pruner -> the option that sets it; the target sparsity is called ``final`` there
OPTIONS: dict[str, Option] = {
    {"sparsity": "final"}.get(one.name, one.name): one
    for one in options(Schedule, Pruning)
    if one.name != "pruner"
}


@dataclass(frozen=True)
class PrunerInput:
    """What a pruner may read, and must not change. Tensors are fp32, by name of the matrix.

    Attributes:
        update: the number of updates done.
        mask: the current mask.
        weights: zero where the mask prunes.
        scores: of ``--score``, computed when looked up; the lowest are pruned first.
        scope, seed: of the run's options.
        gradients: sums since the mask changed last, where a pruner or a score needs
            ``gradient``; zero where the mask prunes. Each update adds what the optimizer sees: the
            gradient of the loss per token of the batch, unscaled and clipped.
        dense_gradients: the same with those of pruned weights, where a pruner needs
            ``dense_gradient``.
        start: the weights that the training started from, where a pruner needs ``start``.
    """

    update: int
    mask: Mask
    weights: Mapping[str, Tensor]
    scores: Mapping[str, Tensor]
    scope: Scope = Scope()
    seed: int = 1
    gradients: Optional[Mapping[str, Tensor]] = None
    dense_gradients: Optional[Mapping[str, Tensor]] = None
    start: Optional[Mapping[str, Tensor]] = None

    def select(self, scores: Mapping[str, Tensor], sparsity: float) -> Mask:
        """Return the mask shrunk to ``sparsity`` in the run's scope by pruning the lowest."""
        return select(scores, self.mask, sparsity, **values(self.scope, Scope))


class Pruner:
    """Base of all pruners, which are dataclasses of plain numbers and texts.

    Fields named in ``OPTIONS`` take the values of these options; ``final``, ``start``, ``end``
    and ``every`` are required. A field ``initial`` takes the sparsity of the mask that pruning
    starts from. Other fields need a default. All of them are stored in checkpoints, and a resumed
    run gets them back.
    """

    #: what ``next_mask`` reads beside weights: ``start``, ``gradient``, ``dense_gradient``
    needs: ClassVar[tuple[str, ...]] = ()
    #: whether pruned weights stay pruned
    only_shrinks: ClassVar[bool] = True

    final: float
    start: int
    end: int
    every: int

    def __post_init__(self) -> None:
        check_sparsity(self.final, "--prune-to")
        if self.every < 1:
            raise LotteryError(f"--prune-every {self.every} must be at least 1")
        if not 0 <= self.start <= self.end:
            raise LotteryError(
                f"--prune-start {self.start} must lie in 0 to --prune-end {self.end}"
            )

    def describe(self) -> str:
        """Describe the schedule in a few words, for error messages."""
        return f"to {self.final:g} from update {self.start} to {self.end}, every {self.every}"

    def is_due(self, update: int) -> bool:
        """Whether the mask changes after ``update`` updates."""
        is_inside = self.start <= update <= self.end
        return is_inside and ((update - self.start) % self.every == 0 or update == self.end)

    def is_active(self, update: int) -> bool:
        """Whether the mask will still change after ``update`` updates."""
        return update < self.end

    def is_at_target(self, update: int) -> bool:
        """Whether a validation after ``update`` updates counts: the sparsity is final."""
        return not self.is_active(update)

    def sparsity_at(self, update: int) -> Optional[float]:
        """Sparsity of the mask after ``update`` updates; None if that is not fixed."""
        return self.final if update >= self.start else None

    def first_mask(self, given: PrunerInput) -> Mask:
        """Return the mask that pruning begins with; called once, before the first update."""
        return self.next_mask(given) if self.is_due(given.update) else given.mask

    def next_mask(self, given: PrunerInput) -> Mask:
        """Return the mask from now on; called after every update that ``is_due``."""
        raise NotImplementedError
