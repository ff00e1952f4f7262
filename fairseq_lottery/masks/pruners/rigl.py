"""RigL and RigL-ITOP: regrow weights where the gradient is largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fairseq_lottery.masks.pruners.exchange import FRACTION, Exchange
from fairseq_lottery.masks.pruners.pruner import PrunerInput


@dataclass(frozen=True)
class RigL(Exchange):
    """RigL pruner (Evci et al. 2020): prune the smallest survivors, regrow by the dense gradient.

    The gradient is that of the update after which weights are exchanged, over all its batches; with
    ``gradient_updates`` N it is summed over the last N updates. ``docs/techniques.md`` lists the
    differences from the paper.
    """

    needs: ClassVar[tuple[str, ...]] = ("dense_gradient",)

    final: float
    start: int
    end: int
    every: int
    fraction: float = FRACTION
    gradient_updates: int = 1

    def regrowth(self, inputs: PrunerInput, name: str) -> Tensor:
        """Return the magnitude of the gradient."""
        assert inputs.dense_gradients is not None
        return inputs.dense_gradients[name].abs()


@dataclass(frozen=True)
class InTimeRigL(RigL):
    """RigL with the settings of in-time over-parameterization (ITOP, Liu et al. 2021).

    They exchange half of the survivors at first, and seldom, so that regrown weights become large
    enough to survive. Their code exchanges until the end of the training.
    """

    fraction: float = 0.5
