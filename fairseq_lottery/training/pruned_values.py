"""``PrunedValues``: values of pruned weights, for pruners that keep them, and learned scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.masks import Mask, Pruner
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.training.learned_scores import LearnedScores
from fairseq_lottery.training.optimizers import MasterTensors


class PrunedValues:
    """Values in fp32 that weights had when they were pruned.

    Args:
        pruner: pruner that keeps values.
        tensors: tensors of the optimizer.
        mask: current mask.
        stored: result of ``stored``. Without values those of pruned weights are zero; without
            learned scores these start at zero.

    Attributes:
        scores: scores that the pruner learns from these values; None for other pruners.
    """

    def __init__(
        self, pruner: Pruner, tensors: MasterTensors, mask: Mask, stored: Mapping[str, Any]
    ) -> None:
        self._tensors = tensors
        masters = tensors.views
        #: matrix -> tensor of its shape, zero where the mask keeps
        self._values = {n: torch.zeros_like(masters[n], dtype=torch.float32) for n in mask}
        for name, values in stored.get("pruned_values", {}).items():
            tensor = self._values[name]
            tensor[~mask[name].to(tensor.device)] = values.to(tensor.device)
        self.scores: Optional[LearnedScores] = None
        if pruner.learned:
            learned = stored.get("learned", {})
            self.scores = LearnedScores(pruner, tensors, lambda: self.weights, learned)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Name -> fp32 weights, with the stored values where the mask prunes."""
        masters = self._tensors.views
        # masters are zero where the mask prunes
        return LazyTensors(lambda name: masters[name] + self._values[name], self._values)

    @torch.no_grad()
    def change(self, before: Mask, after: Mask, models: Sequence[nn.Module]) -> None:
        """Store the values of weights that ``after`` prunes, and restore those that it regrows.

        Call this before ``after`` is enforced.

        Args:
            before: current mask.
            after: new mask.
            models: the model and its EMA, whose regrown weights get the stored values, too.
        """
        weights, masters = self.weights, self._tensors.views
        parameters = [dict(model.named_parameters()) for model in models]
        for name, keep in after.items():
            value = weights[name]
            kept = keep.to(value.device)
            regrown = kept & ~before[name].to(value.device)
            for tensor in (masters[name], *(named[name].data for named in parameters)):
                where = regrown.to(tensor.device)
                tensor.copy_(torch.where(where, value.to(tensor.device, tensor.dtype), tensor))
            self._values[name] = value.masked_fill_(kept, 0)

    def stored(self, mask: Mask) -> dict[str, Any]:
        """Return the state for a checkpoint.

        Its ``pruned_values`` has matrix -> values of the entries that the current mask prunes, row
        by row.
        """
        values = {n: v[~mask[n].to(v.device)].cpu() for n, v in self._values.items()}
        learned = {"learned": self.scores.stored()} if self.scores is not None else {}
        return {"pruned_values": values, **learned}
