"""Mapping from the parameters of a model to the tensors that its optimizer updates.

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


def unwrap(optimizer: Any) -> Any:
    """Return the optimizer inside fairseq's wrapper for half precision."""
    for attribute in ("fp32_optimizer", "wrapped_optimizer"):
        if hasattr(optimizer, attribute):
            return getattr(optimizer, attribute)
    return optimizer


def find_masked(optimizer: Any) -> MaskedOptimizer:
    """Return the masked optimizer that the trainer's ``optimizer`` is or wraps.

    Raises:
        LotteryError: the optimizer is not masked.
    """
    inner: MaskedOptimizer = unwrap(optimizer)
    if not is_masked(optimizer):
        name = type(inner).__name__
        raise LotteryError(
            f"the optimizer {name} does not keep pruned weights at zero; use --optimizer"
            " masked_<name>, for instance masked_adam"
        )
    return inner


def is_masked(optimizer: Any) -> bool:
    """Return whether the trainer's ``optimizer`` is or wraps a masked one."""
    return isinstance(unwrap(optimizer), MaskedOptimizer)


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


def zero_pruned_parameters(model: nn.Module, mask: Mask) -> None:
    """Set pruned weights of a model, such as the averaged one, to zero."""
    for name, parameter in model.named_parameters():
        if name in mask:
            zero_pruned_(parameter.data, mask[name].to(parameter.device, torch.uint8))


def load_exact_values(
    optimizer: Any, tensors: MasterTensors, model: nn.Module, ticket: Ticket
) -> None:
    """Copy the ticket's values to masters, because half precision rounded those of the model.

    Raises:
        LotteryError: the model no longer has the ticket's values, or the ticket lacks moments.
    """
    views = tensors.views
    for name, parameter in trainable(model).items():
        value = ticket.values[name].to(parameter.device, parameter.dtype)
        if not torch.equal(parameter.data, value):
            raise LotteryError(
                f"{name} does not have the ticket's values, as fairseq loaded others; give either a"
                " ticket or a checkpoint"
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
    """Set the optimizer state to that of a ticket.

    Untrained copies of weights in official fairseq 0.12.2 get no state, or zeros in a flat state.

    Args:
        moments: moment -> parameter -> tensor; empty to keep the state.
        numbers: name -> number, or mapping with ``tensor`` for a number in a tensor.

    Raises:
        LotteryError: a moment lacks a parameter.
    """
    if not moments:
        return
    full: dict[str, list[Tensor]] = {}
    for moment, by_name in moments.items():
        missing = [name for name in tensors.names if is_parameter(name) and name not in by_name]
        if missing:
            raise LotteryError(f"the ticket has {moment}, but not for {missing[0]}")
        zeros = {n: torch.zeros(shape) for n, shape in zip(tensors.names, tensors.shapes)}
        full[moment] = tensors.lay_out({**zeros, **by_name})
    state = unwrap(optimizer).optimizer.state
    for index, own in enumerate(tensors.own):
        if len(tensors.own) == len(tensors.names) and not is_parameter(tensors.names[index]):
            continue
        # some optimizers store their step in a tensor of its own
        counts = {
            name: torch.tensor(value["tensor"]) if isinstance(value, Mapping) else value
            for name, value in numbers.items()
        }
        copies = {name: values[index].to(own.device, copy=True) for name, values in full.items()}
        state[own] = {**counts, **copies}
