"""From the parameters of a model to the tensors that its optimizer really updates.

Three layouts exist: the parameters themselves (fp32, amp, memory-efficient half precision),
one fp32 copy of each (``--fp16-no-flatten-grads``, bf16), or one flat fp32 copy of all
(``--fp16``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import is_parameter
from fairseq_lottery.masks import Mask
from fairseq_lottery.training.optimizers.masked_optimizer import MaskedOptimizer


def innermost(optimizer: Any) -> Any:
    """The optimizer inside the wrapper that fairseq puts around it for half precision."""
    for wrapped in ("fp32_optimizer", "wrapped_optimizer"):
        if hasattr(optimizer, wrapped):
            return getattr(optimizer, wrapped)
    return optimizer


def find_masked(optimizer: Any) -> MaskedOptimizer:
    """The masked optimizer that the trainer's ``optimizer`` is or wraps.

    Raises:
        LotteryError: the optimizer is not masked.
    """
    inner = innermost(optimizer)
    if not isinstance(inner, MaskedOptimizer):
        name = type(inner).__name__
        raise LotteryError(
            f"the optimizer {name} does not keep pruned weights at zero; use --optimizer"
            " masked_<name>, for instance masked_adam"
        )
    return inner


class MasterTensors:
    """The optimizer's own tensors, by parameter name.

    Args:
        optimizer: the trainer's.
        named: name -> parameter of the model.

    Attributes:
        own: the optimizer's tensors in its order.
        names, shapes: of the parameters in ``own``, in order.
        has_masters: whether ``own`` are fp32 copies.
    """

    def __init__(self, optimizer: Any, named: Mapping[str, Tensor]) -> None:
        self.own: list[Tensor] = list(innermost(optimizer).params)
        self.has_masters = hasattr(optimizer, "fp32_params")
        parameters = list(getattr(optimizer, "fp16_params", self.own))
        by_id = {id(parameter): name for name, parameter in named.items()}
        self.names = [by_id.get(id(p), f"other.{i}") for i, p in enumerate(parameters)]
        self.shapes = [list(p.shape) for p in parameters]
        missing = set(named) - set(self.names)
        if missing:
            raise LotteryError(f"the optimizer does not update {sorted(missing)[0]}")
        self._flat = len(self.own) == 1 and len(parameters) > 1

    @property
    def views(self) -> dict[str, Tensor]:
        """Name -> view of the parameter's shape into the tensor that is updated.

        Of what it holds now: fairseq's ``--quant-noise-pq`` gives parameters other data.
        """
        return self.by_name([tensor.data for tensor in self.own])

    def by_name(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Name -> part of tensors that are laid out as ``own``."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = tensors[0].split(sizes) if self._flat else tensors
        return {n: part.view(shape) for n, part, shape in zip(self.names, parts, self.shapes)}

    def laid_out(self, by_name: Mapping[str, Tensor]) -> list[Tensor]:
        """The inverse of ``by_name``: one tensor for each of ``own``."""
        if not self._flat:
            return [by_name[name] for name in self.names]
        return [torch.cat([by_name[name].reshape(-1) for name in self.names])]

    def rows(self, mask: Mask) -> list[tuple[Tensor, Optional[Tensor]]]:
        """(own tensor, uint8 keep or None) of each of the optimizer's tensors."""
        if not self._flat:
            return [
                (t, mask[n].to(t.device, torch.uint8) if n in mask else None)
                for n, t in zip(self.names, self.own)
            ]
        keep = {
            n: mask[n] if n in mask else torch.ones(shape, dtype=torch.bool)
            for n, shape in zip(self.names, self.shapes)
        }
        flat = self.laid_out(keep)[0]
        return [(self.own[0], flat.to(self.own[0].device, torch.uint8))]


def set_moments(
    optimizer: Any,
    tensors: MasterTensors,
    moments: Mapping[str, Mapping[str, Tensor]],
    numbers: Mapping[str, Any],
) -> None:
    """Give the optimizer the state of a ticket: moment -> parameter -> tensor, and numbers.

    The untrained copies of official fairseq 0.12.2 have none, or zeros in a flat state.
    """
    if not moments:
        return
    full: dict[str, list[Tensor]] = {}
    for moment, by_name in moments.items():
        absent = [name for name in tensors.names if is_parameter(name) and name not in by_name]
        if absent:
            raise LotteryError(f"the ticket keeps {moment}, but not for {absent[0]}")
        zeros = {n: torch.zeros(shape) for n, shape in zip(tensors.names, tensors.shapes)}
        full[moment] = tensors.laid_out({**zeros, **by_name})
    state = innermost(optimizer).optimizer.state
    for index, own in enumerate(tensors.own):
        if len(tensors.own) == len(tensors.names) and not is_parameter(tensors.names[index]):
            continue
        kept = {moment: values[index].to(own.device, copy=True) for moment, values in full.items()}
        counted = {name: _number(value) for name, value in numbers.items()}
        state[own] = {**counted, **kept}


def _number(value: Any) -> Any:
    """A plain number, or a tensor of its own for an optimizer that counts in tensors."""
    return torch.tensor(value["tensor"]) if isinstance(value, Mapping) else value
