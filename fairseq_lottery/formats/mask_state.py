"""Masks as plain tensors and numbers for checkpoints and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.masks import Mask, full_mask, shapes_of


def mask_to_state(mask: Mask) -> dict[str, Any]:
    """Return ``bits`` (packed uint8), ``shapes`` and ``protected``, each by name."""
    return {
        "bits": {name: torch.from_numpy(bits) for name, bits in mask.pack().items()},
        "shapes": {name: list(keep.shape) for name, keep in mask.items()},
        "protected": dict(mask.protected),
    }


def mask_to_file(mask: Mask) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors ``mask/NAME`` of a container, and the entry ``mask`` of its record."""
    state = mask_to_state(mask)
    return {f"mask/{name}": bits for name, bits in state.pop("bits").items()}, state


def survivors(mask: Mask, name: str, full: Tensor) -> Tensor:
    """Return the stored entries of a tensor: those its mask keeps, row by row, or all of them."""
    return full[mask[name]] if name in mask else full


def prunable_survivors(mask: Mask, name: str) -> Tensor:
    """Return where the mask keeps entries of a matrix, without a protected row."""
    kept = mask[name].clone()
    if name in mask.protected:
        kept[mask.protected[name]] = False
    return kept


def scatter(path: Union[str, Path], mask: Mask, name: str, kept: Tensor) -> Tensor:
    """Return the full tensor, zero where pruned; ``survivors`` is the inverse.

    Raises:
        LotteryError: the mask keeps another number of entries.
    """
    if name not in mask:
        return kept
    refuse_other_count(path, mask, name, kept)
    full = torch.zeros(mask[name].shape, dtype=kept.dtype)
    full[mask[name]] = kept
    return full


def refuse_other_count(path: Union[str, Path], mask: Mask, name: str, kept: Tensor) -> None:
    """Refuse kept weights of a matrix that are not as many as its mask keeps."""
    expected = int(torch.count_nonzero(mask[name]))
    if kept.dim() != 1 or kept.numel() != expected:
        raise LotteryError(
            f"{path}: expected {expected} kept weights of {name}, the file has {kept.numel()}"
        )


def mask_of_zeros(weights: Mapping[str, Tensor], is_kept: Callable[[Tensor], Tensor]) -> Mask:
    """Return a mask of all weight matrices by ``is_kept``; protected rows are kept."""
    full = full_mask(shapes_of(weights))
    entries = {name: is_kept(weights[name]) for name in full}
    for name, row in full.protected.items():
        entries[name][row] = True
    return Mask(entries, full.protected)


def mask_from_state(state: Mapping[str, Any]) -> Mask:
    """Return the mask of a state; ``mask_to_state`` is the inverse."""
    try:
        bits = {name: tensor.numpy() for name, tensor in state["bits"].items()}
        return Mask.unpack(bits, state["shapes"], state["protected"])
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise LotteryError(f"the stored mask is malformed: {error}") from error


def save_mask(path: Union[str, Path], mask: Mask) -> None:
    """Write a mask as a file with one bit per weight."""
    tensors, layout = mask_to_file(mask)
    container.save(path, "mask", tensors, {"mask": layout}, overwrite=True)


def load_mask(path: Union[str, Path]) -> Mask:
    """Read a mask that ``save_mask`` wrote.

    Raises:
        LotteryError: the file is missing, malformed or of another kind.
    """
    tensors, record = container.load(path, "mask")
    layout = record.get("mask")
    if not isinstance(layout, dict):
        raise LotteryError(f"{path} is malformed (its mask has no shapes)")
    return mask_from_state({**layout, "bits": container.split(path, tensors, ("mask",))["mask"]})
