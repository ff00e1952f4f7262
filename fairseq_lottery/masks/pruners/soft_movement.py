"""Soft movement pruning: a threshold on learned scores, so that the sparsity is a result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.movement import refuse_pruned
from fairseq_lottery.masks.pruners.pruner import Pruner, PrunerInput, WeightMovement
from fairseq_lottery.masks.schedules import SCHEDULES
from fairseq_lottery.options import Pruning

#: Adam's decay rates and epsilon
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


@dataclass(frozen=True)
class SoftMovement(Pruner):
    """Soft movement pruning (Sanh et al. 2020).

    Weights are pruned where the sigmoid of their score is at most a threshold. Adam learns scores
    from the loss and from a penalty: the mean of their sigmoids in a matrix, averaged over
    matrices. Threshold and weight of the penalty increase by the cubic schedule. ``final`` is an
    upper bound of the sparsity.
    """

    only_shrinks: ClassVar[bool] = False
    keeps_values: ClassVar[bool] = True
    learned: ClassVar[tuple[str, ...]] = ("scores", "exp_avg", "exp_avg_sq")

    final: float
    start: int
    end: int
    every: int
    threshold: float = Pruning.threshold
    penalty: float = Pruning.penalty
    score_lr: float = Pruning.score_lr

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold < 1:
            raise LotteryError(f"--prune-threshold {self.threshold:g} is outside (0, 1)")
        if not 0 <= self.penalty < math.inf:
            raise LotteryError(f"--prune-penalty {self.penalty:g} must be finite and at least 0")
        if not 0 < self.score_lr < math.inf:
            raise LotteryError(f"--prune-score-lr {self.score_lr:g} must be finite and above 0")
        if self.start == self.end:
            raise LotteryError(
                f"--prune-start and --prune-end are both {self.end}; pruner soft-movement requires"
                " updates in between"
            )

    def describe(self) -> str:
        """Return the schedule in a few words for error messages."""
        return f"{super().describe()}, threshold {self.threshold:g}, penalty {self.penalty:g}"

    def sparsity_at(self, update: int) -> None:
        """Return None: the sparsity is a result of the training."""

    def progress(self, update: int) -> float:
        """Return the share of threshold and penalty that is in force at an update."""
        done = (update - self.start) / (self.end - self.start)
        remaining = 1 - min(max(done, 0.0), 1.0)
        return 1 - float(remaining ** SCHEDULES["cubic"])

    def learn(self, movement: WeightMovement, state: Mapping[str, Tensor]) -> None:
        """Update the scores of a matrix by Adam (Kingma & Ba 2015)."""
        scores, mean, square = state["scores"], state["exp_avg"], state["exp_avg_sq"]
        penalty = self.penalty * self.progress(movement.update)
        gates = scores.sigmoid()
        weight = penalty / movement.matrices / scores.numel()
        gradient = movement.product.add(gates * (1 - gates), alpha=weight)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        first, second = (1 - beta**movement.count for beta in _BETAS)
        scale = square.div(second).sqrt_().add_(_EPSILON)
        scores.addcdiv_(mean, scale, value=-self.score_lr / first)

    def first_mask(self, inputs: PrunerInput) -> Mask:
        """Return the mask, which must not prune yet."""
        refuse_pruned(inputs.mask)
        return inputs.mask

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune weights up to the threshold of this update, but no more than ``final``."""
        assert inputs.learned is not None
        scores = inputs.learned["scores"]
        threshold = self.threshold * self.progress(inputs.update)
        # libraries differ in the last bits of a sigmoid, so scores are compared instead
        highest = math.log(threshold / (1 - threshold)) if threshold else -math.inf
        most = inputs.select_anew(scores, self.final)
        entries = {n: keep | (scores[n] > highest).to(keep.device) for n, keep in most.items()}
        return Mask(entries, most.protected)
