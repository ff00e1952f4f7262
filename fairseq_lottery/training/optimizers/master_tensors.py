"""Mapping from the parameters of a model to the tensors that its optimizer updates.

Three layouts exist: the parameters themselves (fp32, amp, memory-efficient half precision),
one fp32 copy of each (``--fp16-no-flatten-grads``, bf16), or one flat fp32 copy of all
(``--fp16``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask


def unwrap(optimizer: Any) -> Any:
    """Return the optimizer inside fairseq's wrapper for half precision."""
    for attribute in ("fp32_optimizer", "wrapped_optimizer"):
        if hasattr(optimizer, attribute):
            return getattr(optimizer, attribute)
    return optimizer


class MasterTensors:
    """The optimizer's own tensors, by parameter name.

    Args:
        optimizer: the trainer's optimizer.
        named: name -> parameter of the model.

    Attributes:
        own: the optimizer's tensors in its order.
        names, shapes: names and shapes of the parameters in ``own``, in order.
        has_masters: whether ``own`` holds fp32 copies.

    Raises:
        LotteryError: the optimizer does not update a parameter.
    """

    def __init__(self, optimizer: Any, named: Mapping[str, Tensor]) -> None:
        self.own: list[Tensor] = list(unwrap(optimizer).params)
        self.has_masters = hasattr(optimizer, "fp32_params")
        parameters = list(getattr(optimizer, "fp16_params", self.own))
        by_id = {id(parameter): name for name, parameter in named.items()}
        self.names = [by_id.get(id(p), f"other.{i}") for i, p in enumerate(parameters)]
        self.shapes = [list(p.shape) for p in parameters]
        missing = set(named) - set(self.names)
        if missing:
            raise LotteryError(f"the optimizer does not update {min(missing)}")
        self._flat = len(self.own) == 1 and len(parameters) > 1

    @property
    def views(self) -> dict[str, Tensor]:
        """Name -> view of the parameter's shape into the tensor that is updated.

        Views are made at each access, because ``--quant-noise-pq`` replaces the data of parameters.
        """
        return self.by_name([tensor.data for tensor in self.own])

    def by_name(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return name -> slice of ``tensors``, which have the layout of ``own``."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        slices = tensors[0].split(sizes) if self._flat else tensors
        return {n: piece.view(shape) for n, piece, shape in zip(self.names, slices, self.shapes)}

    def lay_out(self, by_name: Mapping[str, Tensor]) -> list[Tensor]:
        """Return one tensor for each of ``own``; the inverse of ``by_name``."""
        if not self._flat:
            return [by_name[name] for name in self.names]
        return [torch.cat([by_name[name].reshape(-1) for name in self.names])]

    def rows(self, mask: Mask) -> list[tuple[Tensor, Tensor]]:
        """Return (own tensor, uint8 keep) for each of the optimizer's tensors under ``mask``."""
        if not self._flat:
            return [
                (t, mask[n].to(t.device, torch.uint8))
                for n, t in zip(self.names, self.own)
                if n in mask
            ]
        keep = {
            n: mask[n] if n in mask else torch.ones(shape, dtype=torch.bool)
            for n, shape in zip(self.names, self.shapes)
        }
        flat = self.lay_out(keep)[0]
        return [(self.own[0], flat.to(self.own[0].device, torch.uint8))]

    def refuse_unpruned(self, mask: Mask) -> None:
        """Refuse nonzero weights where ``mask`` prunes."""
        views = self.views
        for name, keep in mask.items():
            if bool((views[name][~keep.to(views[name].device)] != 0).any()):
                raise LotteryError(
                    f"{name} has nonzero weights where the mask prunes; use a checkpoint that no"
                    " program without the mask has changed"
                )
