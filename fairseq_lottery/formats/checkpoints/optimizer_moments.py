"""Read the optimizer state of a checkpoint by parameter name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_update

Moments = dict[str, dict[str, Tensor]]

#: entries that fairseq's optimizers keep per weight
MOMENTS = (
    *("exp_avg", "exp_avg_sq", "exp_inf", "max_exp_avg_sq", "momentum_buffer"),
    *("square_avg", "acc_delta", "sum"),
)


def read_moments(
    state: Mapping[str, Any], path: Union[str, Path]
) -> tuple[Moments, dict[str, Any]]:
    """Return moment -> parameter -> tensor, and the state's plain numbers such as ``step``.

    Raises:
        LotteryError: the checkpoint has no state of a masked optimizer (others do not store
            parameter names), or the state does not fit the model.
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
            elif value.dim() == 0:  # newer optimizers of torch store ``step`` as a tensor
                numbers[number] = {"tensor": value.item()}
    return moments, numbers


def moments_per_weight(state: Mapping[str, Any], path: Union[str, Path]) -> Moments:
    """Return moment -> parameter -> tensor of moments with an entry for each weight.

    The factored moments of Adafactor are skipped, and also their unfactored entries of vectors.

    Raises:
        LotteryError: the state is missing, or does not fit the model.
    """
    if not is_saved(state):
        return {}
    groups = state["last_optimizer_state"].get("param_groups") or [{}]
    # SGD without momentum has no state
    is_stateless = all(
        isinstance(group, Mapping) and group.get("momentum") == 0 for group in groups
    )
    if stored_update(state) and not _state_of(state) and not is_stateless:
        raise LotteryError(f"the optimizer state of {path} is missing")
    moments: Moments = {}
    factored = set()
    for moment, name, value in _tensors(state, path):
        if name:
            moments.setdefault(moment, {})[name] = value
        else:
            factored.add(moment.rpartition("_")[0])  # from exp_avg_sq_row and exp_avg_sq_col
    return {moment: by_name for moment, by_name in moments.items() if moment not in factored}


def is_saved(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint has the state of a masked optimizer, with parameter names."""
    optimizer = state.get("last_optimizer_state") or {}
    return bool((optimizer.get("lottery") or {}).get("names"))


def _state_of(state: Mapping[str, Any]) -> Mapping[int, Any]:
    return state["last_optimizer_state"].get("state") or {}


def _tensors(state: Mapping[str, Any], path: Union[str, Path]) -> Iterator[tuple[str, str, Tensor]]:
    """Yield moment, parameter and tensor; the parameter is empty for factored moments."""
    lottery = state["last_optimizer_state"]["lottery"]
    names: list[str] = lottery["names"]
    shapes = [torch.Size(shape) for shape in lottery.get("shapes") or []]
    model = state.get("model") or {}
    if len(set(names)) < len(names) or len(names) != len(shapes):
        raise LotteryError(
            f"{path} is malformed (the parameter names of its optimizer are not unique)"
        )
    for name, shape in zip(names, shapes):
        # parameters of the criterion are not in the model
        if name in model and model[name].shape != shape:
            raise LotteryError(
                f"{path} is malformed (its optimizer has {name} with shape {tuple(shape)}, expected"
                f" {tuple(model[name].shape)})"
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
                    f"{path} is malformed (its optimizer's {moment} has shape {tuple(value.shape)},"
                    " which does not fit the model)"
                )


def _is_factored(shape: torch.Size, full: torch.Size) -> bool:
    """Return whether ``shape`` is that of a mean over rows or columns of ``full``."""
    return len(full) >= 2 and tuple(shape) in (full[:-1], (*full[:-2], full[-1]))
