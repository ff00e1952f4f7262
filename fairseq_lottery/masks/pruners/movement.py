"""Movement pruning: keep the weights that the training moves away from zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.gradual_regrow import GradualRegrow
from fairseq_lottery.masks.pruners.pruner import PrunerInput, WeightMovement


def refuse_pruned(mask: Mask) -> None:
    """Refuse a mask that prunes before scores are learned: kept values would be zero."""
    if mask.pruned:
        raise LotteryError(
            "movement pruning multiplies gradients by the values of weights, which are unknown for"
            f" the {mask.pruned} weights that the mask prunes already; start from a dense model"
        )


@dataclass(frozen=True)
class Movement(GradualRegrow):
    """Hard movement pruning (Sanh et al. 2020) with the schedule of ``Gradual``.

    The score of a weight is the negative sum of gradient times weight over all updates. It is
    positive if the updates have moved the weight away from zero. All weights are ranked at each
    pruning step. The gradient of a pruned weight is that of its entry in the masked matrix, and its
    value is the kept one.
    """

    learned: ClassVar[tuple[str, ...]] = ("scores",)

    def learn(self, movement: WeightMovement, state: Mapping[str, Tensor]) -> None:
        """Subtract gradient times weight: an update of SGD with learning rate 1."""
        state["scores"].sub_(movement.product)

    def first_mask(self, inputs: PrunerInput) -> Mask:
        """Return the mask, which must not prune yet."""
        refuse_pruned(inputs.mask)
        return inputs.mask

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune the lowest learned scores of all weights up to the sparsity of this update."""
        assert inputs.learned is not None
        return inputs.select_anew(inputs.learned["scores"], self.sparsity_at(inputs.update))
