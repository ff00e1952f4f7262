"""Weights that are not zero where the mask prunes; other programs may write such files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries
from fairseq_lottery.formats.mask_state import mask_from_state
from fairseq_lottery.masks import Mask, shapes_of


def count_leaks(tensors: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> dict[str, int]:
    """Return matrix -> number of pruned entries that are not zero, without zero counts."""
    counts = {
        name: int(torch.count_nonzero(tensors[name][~keep]))
        for name, keep in mask.items()
        if name in tensors
    }
    return {name: count for name, count in counts.items() if count}


def refuse_leaks(
    path: Union[str, Path], mask: Optional[Mask], groups: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Refuse a file with nonzero weights where its mask prunes.

    Args:
        mask: None for a dense file.
        groups: group for the message, such as ``weights`` -> name -> tensor.
    """
    for group, tensors in groups.items():
        for name, count in count_leaks(tensors, mask or {}).items():
            raise LotteryError(
                f"{path}: {count} pruned entries of {name} are not zero in its {group}; use the"
                " file that the training wrote"
            )


def refuse_leaking(state: Mapping[str, Any], path: Union[str, Path]) -> None:
    """Refuse a checkpoint whose weights or fp32 masters are not zero where its mask prunes."""
    mask = stored_mask(state)
    if mask is not None:
        mask.check(shapes_of(state["model"]))
        refuse_leaks(path, mask, {"weights": state["model"], "masters": stored_masters(state)})


def stored_mask(state: Mapping[str, Any]) -> Optional[Mask]:
    """Return the mask of a checkpoint, or None."""
    stored = stored_entries(state).get("mask")
    return mask_from_state(stored) if stored is not None else None


def stored_masters(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return name -> fp32 master of a checkpoint; empty if it has no masters."""
    optimizer = state.get("last_optimizer_state") or {}
    return dict((optimizer.get("lottery") or {}).get("masters") or {})
