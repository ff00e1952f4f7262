"""From the parameters of a model to the tensors that its optimizer really updates.

Three layouts exist: the parameters themselves (fp32, amp, memory-efficient half precision),
one fp32 copy of each (``--fp16-no-flatten-grads``, bf16), or one flat fp32 copy of all
(``--fp16``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Ticket, is_parameter, trainable
from fairseq_lottery.masks import Mask
from fairseq_lottery.training.optimizers.masked_optimizer import MaskedOptimizer, zero_pruned_


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
    inner: MaskedOptimizer = innermost(optimizer)
    if not is_masked(optimizer):
        name = type(inner).__name__
        raise LotteryError(
            f"the optimizer {name} does not keep pruned weights at zero; use --optimizer"
            " masked_<name>, for instance masked_adam"
        )
    return inner


def is_masked(optimizer: Any) -> bool:
    """Whether the trainer's ``optimizer`` is or wraps a masked one."""
    return isinstance(innermost(optimizer), MaskedOptimizer)


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

    def rows(self, mask: Mask) -> list[tuple[Tensor, Tensor]]:
        """(own tensor, uint8 keep) of each of the optimizer's tensors under ``mask``."""
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
        flat = self.laid_out(keep)[0]
        return [(self.own[0], flat.to(self.own[0].device, torch.uint8))]

    def refuse_unpruned(self, mask: Mask) -> None:
        """Refuse weights that are not zero where ``mask`` prunes."""
        views = self.views
        for name, keep in mask.items():
            if bool((views[name][~keep.to(views[name].device)] != 0).any()):
                raise LotteryError(
                    f"{name} has weights where the mask prunes; the checkpoint was changed by"
                    " something that does not know the mask"
                )


def zero_pruned_parameters(model: nn.Module, mask: Mask) -> None:
    """Set the pruned weights of a model itself to zero, for instance of averaged weights."""
    for name, parameter in model.named_parameters():
        if name in mask:
            zero_pruned_(parameter.data, mask[name].to(parameter.device, torch.uint8))


def start_exactly(optimizer: Any, tensors: MasterTensors, model: nn.Module, ticket: Ticket) -> None:
    """Give masters the ticket's own values: the model's were rounded to half precision.

    Raises:
        LotteryError: the model has lost the ticket's values, or the ticket lacks moments.
    """
    views = tensors.views
    for name, parameter in trainable(model).items():
        value = ticket.values[name].to(parameter.device, parameter.dtype)
        if not torch.equal(parameter.data, value):
            raise LotteryError(
                f"{name} is not the ticket's any more; something that fairseq loaded has"
                " replaced it, so give either a ticket or a checkpoint"
            )
        if tensors.has_masters:
            views[name].copy_(ticket.values[name])
    set_moments(optimizer, tensors, ticket.moments, ticket.record["moment_numbers"])


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
        # a plain number, or a tensor of its own for an optimizer that counts in tensors
        counted = {
            name: torch.tensor(value["tensor"]) if isinstance(value, Mapping) else value
            for name, value in numbers.items()
        }
        kept = {moment: values[index].to(own.device, copy=True) for moment, values in full.items()}
        state[own] = {**counted, **kept}
