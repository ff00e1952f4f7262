"""The optimizer's state of a checkpoint, by parameter name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError

Moments = dict[str, dict[str, Tensor]]


def read_moments(state: dict[str, Any], path: Union[str, Path]) -> tuple[Moments, dict[str, Any]]:
    """Return moment -> parameter -> tensor, and the state's plain numbers such as ``step``.

    Raises:
        LotteryError: the checkpoint has no optimizer state, or one that does not say which
            parameter is which (only masked optimizers write that).
    """
    optimizer = state.get("last_optimizer_state") or {}
    names: list[str] = (optimizer.get("lottery") or {}).get("names") or []
    shapes: list[list[int]] = (optimizer.get("lottery") or {}).get("shapes") or []
    entries = optimizer.get("state") or {}
    if not names or not entries:
        raise LotteryError(
            f"{path} has no optimizer state of a masked optimizer; draw with --moments fresh"
        )
    moments: Moments = {}
    numbers: dict[str, Any] = {}
    for index, entry in entries.items():
        for moment, value in entry.items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                # torch's newer optimizers count their steps in a tensor
                scalar = isinstance(value, Tensor)
                numbers[moment] = {"tensor": value.item()} if scalar else value
                continue
            if len(entries) == 1 and len(names) > 1:  # one flat tensor for all parameters
                sizes = [torch.Size(shape).numel() for shape in shapes]
                for name, shape, part in zip(names, shapes, value.split(sizes)):
                    moments.setdefault(moment, {})[name] = part.reshape(shape)
            elif list(value.shape) == list(shapes[index]):
                moments.setdefault(moment, {})[names[index]] = value
            else:
                raise LotteryError(
                    f"{path}: the optimizer's {moment} is factored and cannot be kept per weight;"
                    " draw with --moments fresh"
                )
    return moments, numbers
