"""Gradual pruning of weights that keep their values while they are pruned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.gradual import Gradual
from fairseq_lottery.masks.pruners.pruner import PrunerInput


@dataclass(frozen=True)
class GradualRegrow(Gradual):
    """Pruner with the schedule of ``Gradual`` that ranks all weights at each pruning step.

    Pruned weights keep their values, and are regrown with them if enough survivors have become
    smaller. This is the magnitude pruning of TensorFlow's ``model_pruning`` (Zhu & Gupta 2017).
    """

    only_shrinks: ClassVar[bool] = False
    keeps_values: ClassVar[bool] = True

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune the lowest scores of all weights up to the sparsity of this update."""
        return inputs.select_anew(inputs.scores, self.sparsity_at(inputs.update))
