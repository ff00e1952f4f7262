"""The optimizer's state of a checkpoint, by parameter name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint import stored_update

Moments = dict[str, dict[str, Tensor]]

#: what fairseq's optimizers keep for each weight
MOMENTS = (
    *("exp_avg", "exp_avg_sq", "exp_inf", "max_exp_avg_sq", "momentum_buffer"),
    *("square_avg", "acc_delta", "sum"),
)


def read_moments(
    state: Mapping[str, Any], path: Union[str, Path]
) -> tuple[Moments, dict[str, Any]]:
    """Return moment -> parameter -> tensor, and the state's plain numbers such as ``step``.

    Raises:
        LotteryError: the checkpoint has no optimizer state, or one that does not say which
            parameter is which (only masked optimizers write that), or is not its model's.
    """
    if not is_saved(state) or not _state_of(state):
        raise LotteryError(
            f"{path} has no optimizer state of a masked optimizer; draw with --moments fresh"
        )
    moments: Moments = {}
    for moment, name, value in _tensors(state, path):
        if not name:
            raise LotteryError(
                f"{path}: the optimizer's {moment} is factored and cannot be kept per weight;"
                " draw with --moments fresh"
            )
        moments.setdefault(moment, {})[name] = value
    numbers: dict[str, Any] = {}
    for entry in _state_of(state).values():
        for number, value in entry.items():
            if not isinstance(value, Tensor):
                numbers[number] = value
            elif value.dim() == 0:  # torch's newer optimizers count their steps in a tensor
                numbers[number] = {"tensor": value.item()}
    return moments, numbers


def moments_per_weight(state: Mapping[str, Any], path: Union[str, Path]) -> Moments:
    """Moment -> parameter -> tensor, of all that has an entry for each weight.

    Not of what Adafactor keeps of matrices by row and column, and of vectors as they are.

    Raises:
        LotteryError: a state that is not the model's, or that was taken out.
    """
    if not is_saved(state):
        return {}
    groups = state["last_optimizer_state"].get("param_groups") or [{}]
    # gradient descent without momentum keeps nothing
    is_stateless = all(isinstance(one, Mapping) and one.get("momentum") == 0 for one in groups)
    if stored_update(state) and not _state_of(state) and not is_stateless:
        raise LotteryError(f"{path} has lost the state of its optimizer")
    moments: Moments = {}
    factored = set()
    for moment, name, value in _tensors(state, path):
        if name:
            moments.setdefault(moment, {})[name] = value
        else:
            factored.add(moment.rpartition("_")[0])  # of exp_avg_sq_row and exp_avg_sq_col
    return {moment: found for moment, found in moments.items() if moment not in factored}


def is_saved(state: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the state of a masked optimizer, which knows its parameters."""
    optimizer = state.get("last_optimizer_state") or {}
    return bool((optimizer.get("lottery") or {}).get("names"))


def _state_of(state: Mapping[str, Any]) -> Mapping[int, Any]:
    return state["last_optimizer_state"].get("state") or {}


def _tensors(state: Mapping[str, Any], path: Union[str, Path]) -> Iterator[tuple[str, str, Tensor]]:
    """Moment, parameter and tensor of each; the parameter's name is empty for a factored one."""
    lottery = state["last_optimizer_state"]["lottery"]
    names: list[str] = lottery["names"]
    shapes = [torch.Size(shape) for shape in lottery.get("shapes") or []]
    model = state.get("model") or {}
    if len(set(names)) < len(names) or len(names) != len(shapes):
        raise LotteryError(f"{path} is malformed (a parameter of its optimizer is there twice)")
    for name, shape in zip(names, shapes):
        # a criterion's own parameters are not in the model
        if name in model and model[name].shape != shape:
            raise LotteryError(
                f"{path} is malformed (its optimizer has a {name} of the shape {tuple(shape)},"
                " which is not its model's)"
            )
    entries = _state_of(state)
    is_flat = len(entries) == 1 and len(names) > 1  # one tensor for all parameters
    sizes = [shape.numel() for shape in shapes]
    for index, entry in entries.items():
        for moment, value in entry.items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            if is_flat and list(value.shape) == [sum(sizes)]:
                for name, shape, part in zip(names, shapes, value.split(sizes)):
                    yield moment, name, part.reshape(shape)
            elif not is_flat and value.shape == shapes[index]:
                yield moment, names[index], value
            elif not is_flat and _is_factored(value.shape, shapes[index]):
                yield moment, "", value
            else:
                raise LotteryError(
                    f"{path} is malformed (its optimizer's {moment} has the shape"
                    f" {tuple(value.shape)}, which is not its model's)"
                )


def _is_factored(shape: torch.Size, whole: torch.Size) -> bool:
    """Whether it is a mean over the rows or over the columns of a matrix."""
    return len(whole) >= 2 and tuple(shape) in (whole[:-1], (*whole[:-2], whole[-1]))
