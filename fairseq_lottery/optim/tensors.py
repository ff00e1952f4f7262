"""From the parameters of a model to the tensors that its optimizer really updates.

Three layouts exist: the parameters themselves (fp32, amp, memory-efficient half precision),
one fp32 copy of each (``--fp16-no-flatten-grads``, bf16), or one flat fp32 copy of all
(``--fp16``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.optim.masked import MaskedOptimizer
from fairseq_lottery.tickets import is_parameter


def find_masked(optimizer: Any) -> MaskedOptimizer:
    """The masked optimizer inside the wrapper that fairseq puts around it.

    Raises:
        LotteryError: the optimizer is not masked.
    """
    inner = _inner(optimizer)
    if not isinstance(inner, MaskedOptimizer):
        name = type(inner).__name__
        raise LotteryError(
            f"the optimizer {name} does not keep pruned weights at zero; use --optimizer"
            " masked_<name>, for instance masked_adam"
        )
    return inner


def _inner(optimizer: Any) -> Any:
    for wrapped in ("fp32_optimizer", "wrapped_optimizer"):
        if hasattr(optimizer, wrapped):
            return getattr(optimizer, wrapped)
    return optimizer


class MasterTensors:
    """The optimizer's own tensors, by parameter name.

    Attributes:
        views: name -> view of the parameter's shape into the tensor that is updated.
        own: the optimizer's tensors in its order.
        layout: ``names`` and ``shapes`` of what is in ``own``, for checkpoints.
        has_masters: whether ``own`` are fp32 copies.
    """

    def __init__(self, optimizer: Any, named: Mapping[str, Tensor]) -> None:
        inner = _inner(optimizer)
        self.own: list[Tensor] = list(inner.params)
        self.has_masters = hasattr(optimizer, "fp32_params")
        parameters = list(getattr(optimizer, "fp16_params", self.own))
        by_id = {id(parameter): name for name, parameter in named.items()}
        names = [by_id.get(id(p), f"other.{i}") for i, p in enumerate(parameters)]
        self.layout = {"names": names, "shapes": [list(p.shape) for p in parameters]}
        missing = set(named) - set(names)
        if missing:
            raise LotteryError(f"the optimizer does not update {sorted(missing)[0]}")
        self._flat = len(self.own) == 1 and len(parameters) > 1
        sizes = [p.numel() for p in parameters]
        parts = self.own[0].data.split(sizes) if self._flat else [t.data for t in self.own]
        shaped = zip(names, parts, parameters)
        self.views: dict[str, Tensor] = {n: v.view(p.shape) for n, v, p in shaped}

    def rows(self, mask: Optional[Mask]) -> list[tuple[Tensor, Optional[Tensor]]]:
        """(own tensor, uint8 keep or None) of each of the optimizer's tensors."""
        if mask is None:
            return []
        names = self.layout["names"]
        device = self.own[0].device
        if not self._flat:
            return [
                (t, mask[n].to(device, torch.uint8) if n in mask else None)
                for n, t in zip(names, self.own)
            ]
        flat = torch.ones(self.own[0].shape, dtype=torch.uint8, device=device)
        sizes = [torch.Size(shape).numel() for shape in self.layout["shapes"]]
        for name, part in zip(names, flat.split(sizes)):
            if name in mask:
                part.copy_(mask[name].reshape(-1))
        return [(self.own[0], flat)]

    def by_name(self, tensors: list[Tensor]) -> dict[str, Tensor]:
        """Name -> part of tensors that are laid out as ``own``."""
        sizes = [torch.Size(shape).numel() for shape in self.layout["shapes"]]
        parts = tensors[0].split(sizes) if self._flat else tensors
        shaped = zip(self.layout["names"], parts, self.layout["shapes"])
        return {name: part.view(shape) for name, part, shape in shaped}


def master_tensors(optimizer: Any, named: Mapping[str, Tensor]) -> MasterTensors:
    """Map ``named`` parameters to the tensors that ``optimizer`` (as the trainer's) updates."""
    return MasterTensors(optimizer, named)


def set_moments(
    optimizer: Any,
    tensors: MasterTensors,
    moments: Mapping[str, Mapping[str, Tensor]],
    numbers: Mapping[str, Any],
) -> None:
    """Give the optimizer the state of a ticket: moment -> parameter -> tensor, and numbers.

    The untrained copies of official fairseq 0.12.2 have no state, and zeros where all
    parameters are flattened into one.
    """
    if not moments:
        return
    state = _inner(optimizer).optimizer.state
    names, shapes = tensors.layout["names"], tensors.layout["shapes"]
    for moment, by_name in moments.items():
        absent = [name for name in names if is_parameter(name) and name not in by_name]
        if absent:
            raise LotteryError(f"the ticket keeps {moment}, but not for {absent[0]}")
    if len(tensors.own) == 1 and len(names) > 1:
        rows = [(tensors.own[0], zip(names, shapes))]
    else:
        rows = [
            (own, iter([(name, shape)]))
            for own, name, shape in zip(tensors.own, names, shapes)
            if is_parameter(name)
        ]
    for own, parts in rows:
        wanted = list(parts)
        state[own] = dict(numbers)
        for moment, by_name in moments.items():
            kept = [by_name[n] if n in by_name else torch.zeros(shape) for n, shape in wanted]
            flat = torch.cat([tensor.reshape(-1) for tensor in kept])
            state[own][moment] = flat.reshape(own.shape).to(own.device)
