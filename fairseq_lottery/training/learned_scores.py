"""``LearnedScores``: tensors per weight that a pruner changes at every update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

import torch
from torch import Tensor

from fairseq_lottery.masks import Pruner, WeightMovement
from fairseq_lottery.training.optimizers import MasterTensors


class LearnedScores:
    """The tensors that ``pruner.learned`` names, for each matrix.

    Args:
        pruner: pruner that changes them by its method ``learn``.
        tensors: tensors of the optimizer.
        weights: function that returns name -> fp32 weights with the values of pruned ones.
        stored: result of ``stored``; empty to start from zeros.

    Attributes:
        tensors: name in ``learned`` -> matrix -> fp32 tensor.
    """

    def __init__(
        self,
        pruner: Pruner,
        tensors: MasterTensors,
        weights: Callable[[], Mapping[str, Tensor]],
        stored: Mapping[str, Any],
    ) -> None:
        self._pruner, self._optimizer_tensors, self._weights = pruner, tensors, weights
        self._updates: int = stored.get("updates", 0)
        self.tensors: dict[str, dict[str, Tensor]] = {kind: {} for kind in pruner.learned}
        for kind, by_name in self.tensors.items():
            for name, weight in weights().items():
                by_name[name] = torch.zeros_like(weight)
                if stored:
                    by_name[name].copy_(stored["tensors"][kind][name])

    @torch.no_grad()
    def learn(self, update: int, factor: float) -> None:
        """Let the pruner change the tensors before an update.

        Args:
            update: number of this update.
            factor: factor by which the gradients of the optimizer's tensors are to be multiplied.
                Those of pruned weights are used, too; NaN and infinity count as zero.
        """
        self._updates += 1
        own = self._optimizer_tensors.own
        gradients = self._optimizer_tensors.by_name(
            [torch.zeros_like(t.data) if t.grad is None else t.grad for t in own]
        )
        weights = self._weights()
        for name, weight in weights.items():
            product = gradients[name].to(torch.float32, copy=True)
            torch.nan_to_num_(product, nan=0.0, posinf=0.0, neginf=0.0).mul_(factor)
            product.mul_(weight)
            movement = WeightMovement(update, self._updates, len(weights), product)
            self._pruner.learn(movement, {kind: t[name] for kind, t in self.tensors.items()})

    def stored(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"updates": self._updates, "tensors": self.tensors}
