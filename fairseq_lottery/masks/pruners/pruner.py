"""``Pruner``: the protocol of pruners, which change the mask during training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.prunable import shapes_of
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.masks.selection import select
from fairseq_lottery.options import TRAINING, Option, Pruning, Schedule, Scope, options, values

#: field of a pruner -> option that sets it; the field of the target sparsity is ``final``
OPTIONS: dict[str, Option] = {
    {"sparsity": "final"}.get(option.name, option.name): option
    for option in options(Schedule, Pruning)
    if option.name != "pruner"
}


@dataclass(frozen=True)
class WeightMovement:
    """Movement of the weights of a matrix by an update, for pruners that learn scores.

    Attributes:
        update: number of the update.
        count: number of updates since scores are learned, with this one.
        matrices: number of prunable matrices.
        product: gradient times weight before the update, in fp32. The gradient is unscaled and
            clipped, of the loss per token of the batch. Pruned weights have the gradient of their
            entry in the masked matrix, and their kept values.
    """

    update: int
    count: int
    matrices: int
    product: Tensor


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
        gradients: gradients summed since the last change of the mask, or over fewer updates (see
            ``Pruner.sums_gradient_of``), zero where the mask prunes; only if the pruner or the
            score needs ``gradient``. Each update adds the unscaled and clipped gradient of the loss
            per token of the batch, as the optimizer receives it.
        dense_gradients: the same sums including pruned weights; only if the pruner needs
            ``dense_gradient``.
        start: weights at the start of the training; only if the pruner needs ``start``.
        learned: name in ``Pruner.learned`` -> learned tensors; only if there are any.
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
    learned: Optional[Mapping[str, Mapping[str, Tensor]]] = None

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
    #: names of tensors like each matrix that ``learn`` changes at every update until no more mask
    #: changes; they are fp32, start at zero and never change otherwise. Requires ``keeps_values``.
    learned: ClassVar[tuple[str, ...]] = ()
    #: whether the mask keeps the pattern of a scope N:M
    keeps_pattern: ClassVar[bool] = False

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
        if not 0 <= self._window <= self.every:
            raise LotteryError(
                f"--prune-gradient-updates {self._window} is out of range (0 to --prune-every,"
                f" {self.every}); 0 sums the gradients of all updates"
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

    @property
    def _window(self) -> int:
        return int(getattr(self, "gradient_updates", 0))

    def sums_gradient_of(self, update: int) -> bool:
        """Return whether the gradient of update ``update`` is summed, if gradients are needed.

        A field ``gradient_updates`` N limits the sum to the last N updates before a change of the
        mask. Without it, or if it is 0, all gradients since the last change are summed.
        """
        if not self._window:
            return True
        return any(self.is_due(due) for due in range(update, update + self._window))

    def is_at_target(self, update: int) -> bool:
        """Return whether a validation after ``update`` updates counts: the sparsity is final."""
        return not self.is_active(update)

    def sparsity_at(self, update: int) -> Optional[float]:
        """Return the sparsity of the mask after ``update`` updates; None if it is not fixed."""
        return self.final if update >= self.start else None

    def first_mask(self, inputs: PrunerInput) -> Mask:
        """Return the mask at the start of pruning; called once before the first update."""
        return self.next_mask(inputs) if self.is_due(inputs.update) else inputs.mask

    def learn(self, movement: WeightMovement, state: Mapping[str, Tensor]) -> None:
        """Change the learned tensors of a matrix in place; called before every update.

        Args:
            movement: movement of the weights of the matrix.
            state: name in ``learned`` -> tensor of the matrix.
        """
        raise NotImplementedError

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Return the new mask; called after every update that ``is_due``."""
        raise NotImplementedError


def options_of(kind: type[Pruner]) -> dict[str, Option]:
    """Return field -> option of those fields of a kind of pruner that options set."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return {name: option for name, option in OPTIONS.items() if name in known}


def settings_of(kind: type[Pruner], cfg: Any) -> dict[str, Any]:
    """Return field -> value of the options of a kind of pruner.

    Args:
        cfg: a training's configuration; an option that is None there has the default of the class.
    """
    defaults = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    settings = {}
    for name, option in options_of(kind).items():
        value = getattr(cfg, option.name_in(TRAINING))
        settings[name] = defaults[name] if value is None else value
    return {name: value for name, value in settings.items() if value is not MISSING}
