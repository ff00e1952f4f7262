"""``PrivateCopy``: a copy of a module on which saliencies are computed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import use_modules
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask

_CHUNK = 1 << 20


class PrivateCopy:
    """A copy of a module in evaluation mode, so the module, its gradients and buffers stay as is.

    Args:
        module: the module.
        names: parameters that get gradients, all others are constants.
        dtype: type of the copy's weights.
        weights: name -> values that replace those of the module, such as fp32 masters.

    Attributes:
        module: the copy.
        parameters: name -> parameter of the copy, in the order of ``names``.

    Raises:
        LotteryError: the module lacks a parameter, or cannot be copied.
    """

    def __init__(
        self,
        module: nn.Module,
        names: Iterable[str],
        dtype: torch.dtype = torch.float32,
        weights: Optional[Mapping[str, Tensor]] = None,
    ) -> None:
        try:
            self.module = copy.deepcopy(module).to(dtype).eval()
        except RuntimeError as error:
            raise LotteryError(
                "the model cannot be copied, because it computes weights from others, as weight"
                " norm does; choose a score that does not read the model"
            ) from error
        use_modules(self.module)  # fused attention has no second derivative
        parameters = dict(self.module.named_parameters())
        names = list(names)
        for name in names:
            if name not in parameters:
                raise LotteryError(f"the model has no parameter {name}, which the mask prunes")
        for parameter in parameters.values():
            parameter.requires_grad_(False)
        with torch.no_grad():
            for name, values in (weights or {}).items():
                parameters[name].copy_(values)
        self.parameters = {name: parameters[name].requires_grad_() for name in names}
        self._dense = {name: p.detach().clone() for name, p in self.parameters.items()}

    def set_mask(self, mask: Mask) -> None:
        """Set pruned weights to zero, and all others to the values of the module."""
        with torch.no_grad():
            for name, keep in mask.items():
                self.parameters[name].copy_(self._dense[name])
                fill_pruned(self.parameters[name].data, keep, 0)

    def take_magnitudes(self) -> None:
        """Replace all parameters and buffers by their magnitudes."""
        with torch.no_grad():
            for tensor in (*self.module.parameters(), *self.module.buffers()):
                if tensor.is_floating_point():
                    tensor.abs_()
            for dense in self._dense.values():
                dense.abs_()


def fill_pruned(tensor: Tensor, keep: Tensor, value: float) -> None:
    """Set the entries of a contiguous tensor that are not in ``keep`` to a value, in place."""
    keep = keep.to(tensor.device)
    for part, kept in zip(chunks(tensor), chunks(keep)):
        part.masked_fill_(~kept, value)


def chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    """Return flat views of a contiguous tensor, so small that the allocator reuses memory."""
    return tensor.view(-1).split(_CHUNK)
