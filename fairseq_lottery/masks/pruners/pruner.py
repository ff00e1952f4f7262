"""``Pruner``: the protocol of pruners, which change the mask during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.prunable import shapes_of
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.masks.selection import select
from fairseq_lottery.options import Option, Pruning, Schedule, Scope, options, values

#: field of a pruner -> option that sets it; the field of the target sparsity is ``final``
OPTIONS: dict[str, Option] = {
    {"sparsity": "final"}.get(option.name, option.name): option
    for option in options(Schedule, Pruning)
    if option.name != "pruner"
}


@dataclass(frozen=True)
class PrunerInput:
    """Input of a pruner, which must not change it. Tensors are fp32, by name of the matrix.

    Attributes:
        update: number of updates so far.
        mask: current mask.
        weights: current weights. Where the mask prunes they are zero, or the values that were kept
            of a pruner with ``keeps_values``.
        scores: scores of ``--score`` for ``weights``, computed at each lookup; the lowest are
            pruned first.
        scope, seed: options of the run.
        gradients: gradients summed since the last change of the mask, zero where it prunes; only if
            the pruner or the score needs ``gradient``. Each update adds the unscaled and clipped
            gradient of the loss per token of the batch, as the optimizer receives it.
        dense_gradients: the same sums including pruned weights; only if the pruner needs
            ``dense_gradient``.
        start: weights at the start of the training; only if the pruner needs ``start``.
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
        """Return the mask pruned to ``sparsity`` by the lowest scores in the run's scope."""
        return select(scores, self.mask, sparsity, **values(self.scope, Scope))

    def select_anew(self, scores: Mapping[str, Tensor], sparsity: float) -> Mask:
        """Return a mask as ``select`` does, but rank pruned weights, too; they may regrow."""
        full = Mask.full(shapes_of(self.mask), self.mask.protected)
        return select(scores, full, sparsity, **values(self.scope, Scope))


class Pruner:
    """Base of all pruners, which are dataclasses of numbers and strings.

    Fields named in ``OPTIONS`` get the values of these options; ``final``, ``start``, ``end`` and
    ``every`` are required. A field ``initial`` gets the sparsity of the mask at the start. Other
    fields require a default. Checkpoints store all fields, and a resumed run restores them.
    """

    #: optional inputs that ``next_mask`` needs: ``start``, ``gradient``, ``dense_gradient``
    needs: ClassVar[tuple[str, ...]] = ()
    #: whether pruned weights stay pruned
    only_shrinks: ClassVar[bool] = True
    #: whether the run keeps the value that a weight has when it is pruned, until no more mask
    #: changes; a weight that is regrown gets this value, otherwise zero
    keeps_values: ClassVar[bool] = False

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
                f"--prune-start {self.start} is out of range (0 to --prune-end, {self.end})"
            )

    def describe(self) -> str:
        """Return the schedule in a few words for error messages."""
        return f"to {self.final:g} from update {self.start} to {self.end}, every {self.every}"

    def is_due(self, update: int) -> bool:
        """Return whether the mask changes after ``update`` updates."""
        is_inside = self.start <= update <= self.end
        return is_inside and ((update - self.start) % self.every == 0 or update == self.end)

    def is_active(self, update: int) -> bool:
        """Return whether the mask will still change after ``update`` updates."""
        return update < self.end

    def is_at_target(self, update: int) -> bool:
        """Return whether a validation after ``update`` updates counts: the sparsity is final."""
        return not self.is_active(update)

    def sparsity_at(self, update: int) -> Optional[float]:
        """Return the sparsity of the mask after ``update`` updates; None if it is not fixed."""
        return self.final if update >= self.start else None

    def first_mask(self, inputs: PrunerInput) -> Mask:
        """Return the mask at the start of pruning; called once before the first update."""
        return self.next_mask(inputs) if self.is_due(inputs.update) else inputs.mask

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Return the new mask; called after every update that ``is_due``."""
        raise NotImplementedError


def options_of(kind: type[Pruner]) -> dict[str, Option]:
    """Return field -> option of those fields of a kind of pruner that options set."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return {name: option for name, option in OPTIONS.items() if name in known}
