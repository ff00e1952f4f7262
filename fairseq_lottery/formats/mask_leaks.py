"""Weights that are not zero where a mask prunes: what something else has done to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint import stored_entries
from fairseq_lottery.formats.mask_state import mask_from_state
from fairseq_lottery.masks import Mask


def count_leaks(tensors: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> dict[str, int]:
    """Matrix -> its pruned entries that are not zero; those without any, or not there, left out."""
    found = {
        name: int(torch.count_nonzero(tensors[name][~keep]))
        for name, keep in mask.items()
        if name in tensors
    }
    return {name: count for name, count in found.items() if count}


def refuse_leaks(
    path: Union[str, Path], mask: Optional[Mask], groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Refuse a file with weights where its mask prunes; name the first matrix.

    Args:
        mask: None for a dense file, in which nothing leaks.
        groups: what the tensors are to a reader of the message -> name -> tensor.
    """
    for group, tensors in groups.items():
        for name, count in count_leaks(tensors, mask or {}).items():
            raise LotteryError(
                f"{path}: {count} pruned entries of {name} are not zero in its {group}; something"
                " that does not know its mask has changed it, so take a file as training left it"
            )


def refuse_leaking(state: Mapping[str, Any], path: Union[str, Path]) -> None:
    """``refuse_leaks`` for the model and the fp32 masters of what ``read_checkpoint`` has read."""
    mask = stored_mask(state)
    if mask is not None:
        mask.check({name: tuple(tensor.shape) for name, tensor in state["model"].items()})
        refuse_leaks(path, mask, {"weights": state["model"], "masters": stored_masters(state)})


def stored_mask(state: Mapping[str, Any]) -> Optional[Mask]:
    """The mask in a checkpoint; None where it says that there is none."""
    stored = stored_entries(state).get("mask")
    return mask_from_state(stored) if stored is not None else None


def stored_masters(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name -> fp32 master in a checkpoint; empty where it has none."""
    optimizer = state.get("last_optimizer_state") or {}
    return dict((optimizer.get("lottery") or {}).get("masters") or {})
