"""Copy the exact values and moments of a ticket into an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Ticket
from fairseq_lottery.training.optimizers.master_tensors import MasterTensors, unwrap


def load_exact_values(
    optimizer: Any, tensors: MasterTensors, parameters: Mapping[str, nn.Parameter], ticket: Ticket
) -> None:
    """Copy the ticket's values to masters, because half precision rounded those of the model.

    Args:
        parameters: name -> parameter of the model, those that a ticket has.

    Raises:
        LotteryError: the model no longer has the ticket's values, or the ticket lacks moments.
    """
    views = tensors.views
    for name, parameter in parameters.items():
        value = ticket.values[name].to(parameter.device, parameter.dtype)
        if not torch.equal(parameter.data, value):
            raise LotteryError(
                f"{name} does not have the ticket's values, as fairseq loaded others; give either a"
                " ticket or a checkpoint"
            )
        if tensors.has_masters:
            views[name].copy_(ticket.values[name])
    numbers = ticket.record["moment_numbers"]
    set_moments(optimizer, tensors, ticket.moments, numbers)


def set_moments(
    optimizer: Any,
    tensors: MasterTensors,
    moments: Mapping[str, Mapping[str, Tensor]],
    numbers: Mapping[str, Any],
) -> None:
    """Set the optimizer state to that of a ticket.

    Parameters without moments get no state, or zeros in a flat state: the head of a task, those
    that the source of the moments never updated, and copies of weights in official fairseq 0.12.2.

    Args:
        moments: moment -> parameter -> tensor; empty to keep the state.
        numbers: name -> number, or mapping with ``tensor`` for a number in a tensor.

    Raises:
        LotteryError: a moment lacks a parameter that another one has.
    """
    if not moments:
        return
    full: dict[str, list[Tensor]] = {}
    updated = set().union(*moments.values())
    for moment, by_name in moments.items():
        missing = updated - set(by_name)
        if missing:
            raise LotteryError(f"the ticket has {moment}, but not for {min(missing)}")
        zeros = {n: torch.zeros(shape) for n, shape in zip(tensors.names, tensors.shapes)}
        full[moment] = tensors.lay_out({**zeros, **by_name})
    state = unwrap(optimizer).optimizer.state
    for index, own in enumerate(tensors.own):
        if len(tensors.own) == len(tensors.names) and tensors.names[index] not in updated:
            continue
        # some optimizers store their step in a tensor of its own
        counts = {
            name: torch.tensor(value["tensor"]) if isinstance(value, Mapping) else value
            for name, value in numbers.items()
        }
        copies = {name: values[index].to(own.device, copy=True) for name, values in full.items()}
        state[own] = {**counts, **copies}
