"""``PrunedValues``: values of pruned weights, for pruners that keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fairseq_lottery.masks import Mask
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.training.optimizers import MasterTensors


class PrunedValues:
    """Values in fp32 that weights had when they were pruned.

    Args:
        tensors: tensors of the optimizer.
        mask: current mask.
        stored: result of ``stored``; empty if the values of all pruned weights are zero.

    Attributes:
        own: a tensor for each of ``tensors.own``, zero where the mask keeps.
    """

    def __init__(self, tensors: MasterTensors, mask: Mask, stored: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.own = [torch.zeros_like(own.data, dtype=torch.float32) for own in tensors.own]
        for name, values in stored.items():
            view = self._views[name]
            view[~mask[name].to(view.device)] = values.to(view.device)

    @property
    def _views(self) -> dict[str, Tensor]:
        return self._tensors.by_name(self.own)

    def weights(self, mask: Mask) -> Mapping[str, Tensor]:
        """Return name -> fp32 weights, with the stored values where the current mask prunes."""
        masters, views = self._tensors.views, self._views

        def merged(name: str) -> Tensor:
            keep = mask[name].to(views[name].device)
            return torch.where(keep, masters[name].float(), views[name])

        return LazyTensors(merged, mask)

    @torch.no_grad()
    def change(self, before: Mask, after: Mask, models: Sequence[nn.Module]) -> None:
        """Store the values of weights that ``after`` prunes, and restore those that it regrows.

        Call this before ``after`` is enforced.

        Args:
            before: current mask.
            after: new mask.
            models: the model and its EMA, whose regrown weights get the stored values, too.
        """
        weights, masters, views = self.weights(before), self._tensors.views, self._views
        parameters = [dict(model.named_parameters()) for model in models]
        for name, keep in after.items():
            value = weights[name]
            kept = keep.to(value.device)
            regrown = kept & ~before[name].to(value.device)
            for tensor in (masters[name], *(named[name].data for named in parameters)):
                where = regrown.to(tensor.device)
                tensor.copy_(torch.where(where, value.to(tensor.device, tensor.dtype), tensor))
            views[name].copy_(torch.where(kept, torch.zeros_like(value), value))

    def stored(self, mask: Mask) -> dict[str, Tensor]:
        """Return matrix -> values of the entries that the current mask prunes, row by row."""
        return {n: v[~mask[n].to(v.device)].cpu() for n, v in self._views.items() if n in mask}
