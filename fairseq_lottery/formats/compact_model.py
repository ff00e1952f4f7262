"""Compact models: mask, survivors and settings of a trained model in one container.

They store the plain checkpoint without an optimizer that ``export`` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.adapters import adapter_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.checkpoint import refuse_not_finite
from fairseq_lottery.formats.checkpoints.checkpoint_entries import refuse_malformed_state
from fairseq_lottery.formats.checkpoints.settings import settings_of
from fairseq_lottery.formats.checkpoints.tied_parameters import untie
from fairseq_lottery.formats.json_values import from_json, to_json
from fairseq_lottery.formats.mask_state import (
    mask_from_state,
    mask_of_zeros,
    mask_to_file,
    scatter,
    survivors,
)
from fairseq_lottery.masks import Mask

KIND = "model"


def from_state(
    state: Mapping[str, Any], mask: Optional[Mask] = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record of a container for a plain checkpoint.

    Args:
        state: plain checkpoint without an optimizer, as ``export`` writes it.
        mask: mask of its training; if None, weights of matrices whose bits are all zero are not
            stored.

    Raises:
        LotteryError: a setting is not plain data.
    """
    weights, ties = untie(state["model"])
    rest = {n: t for n, t in state["model"].items() if n not in weights and n not in ties}
    adapter = adapter_of(settings_of((state.get("cfg") or {}).get("task")).get("_name"))
    mask = mask if mask is not None else mask_of_zeros(adapter.without_head(weights), _is_kept)
    tensors, layout = mask_to_file(mask)
    tensors.update({f"buffer/{name}": tensor for name, tensor in rest.items()})
    for name, tensor in weights.items():
        tensors[f"values/{name}"] = survivors(mask, name, tensor)
    settings = {key: value for key, value in state.items() if key != "model"}
    plain = {key: to_json(value, f"the checkpoint's {key}") for key, value in settings.items()}
    names = list(state["model"])
    return tensors, {"names": names, "ties": ties, "mask": layout, "settings": plain}


def load_model(path: Union[str, Path]) -> tuple[dict[str, Any], Mask]:
    """Return the plain checkpoint, bit for bit, and its mask.

    Raises:
        LotteryError: the file is missing, malformed, inconsistent or not finite, or does not
            contain a fairseq checkpoint.
    """
    tensors, record = container.load(path, KIND)
    parts = container.split(path, tensors, ("mask", "values", "buffer"))
    try:
        mask = mask_from_state({**record["mask"], "bits": parts["mask"]})
        full = {name: scatter(path, mask, name, kept) for name, kept in parts["values"].items()}
        full.update(parts["buffer"])
        refuse_not_finite(full, path)
        size = sum(tensor.numel() * tensor.element_size() for tensor in full.values())
        full.update({alias: full[name] for alias, name in record["ties"].items()})
        if sorted(record["names"]) != sorted(full) or "model" in record["settings"]:
            raise LotteryError(f"{path} is malformed (its names do not match its tensors)")
        settings = {key: from_json(value) for key, value in record["settings"].items()}
        state = {"model": {n: full[n].clone() for n in record["names"]}, **settings}
        refuse_malformed_state(state, size)
        return state, mask
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise LotteryError(f"{path} is malformed ({error})") from error


def _is_kept(weight: Tensor) -> Tensor:
    """Return which weights have a nonzero bit; -0.0 has one."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return weight.contiguous().view(integers) != 0
