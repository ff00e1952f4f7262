"""A trained model as one container: its mask, what survives, and all that fairseq needs to load it.

The counterpart of a plain fairseq checkpoint without an optimizer, as ``export`` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.checkpoints.checkpoint import look_through, refuse_not_finite
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
    """Tensors and record of the container that holds a plain checkpoint.

    Args:
        state: as ``tasks.export.plain_state`` gives it.
        mask: that it was trained under; without one, weights of matrices that are zero to the
            bit are left out.

    Raises:
        LotteryError: a setting that is not plain data.
    """
    weights, ties = untie(state["model"])
    rest = {n: t for n, t in state["model"].items() if n not in weights and n not in ties}
    mask = mask if mask is not None else mask_of_zeros(weights, _is_kept)
    tensors, layout = mask_to_file(mask)
    tensors.update({f"buffer/{name}": tensor for name, tensor in rest.items()})
    for name, tensor in weights.items():
        tensors[f"values/{name}"] = survivors(mask, name, tensor)
    settings = {key: value for key, value in state.items() if key != "model"}
    plain = {key: to_json(value, f"the checkpoint's {key}") for key, value in settings.items()}
    names = list(state["model"])
    return tensors, {"names": names, "ties": ties, "mask": layout, "settings": plain}


def load_model(path: Union[str, Path]) -> tuple[dict[str, Any], Mask]:
    """The plain checkpoint again, its values to the bit, and its mask.

    Raises:
        LotteryError: missing, malformed, inconsistent, not finite, or no fairseq checkpoint.
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
            raise LotteryError(f"{path} is malformed (its names and its tensors differ)")
        settings = {key: from_json(value) for key, value in record["settings"].items()}
        state = {"model": {n: full[n].clone() for n in record["names"]}, **settings}
        look_through(state, size)
        return state, mask
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise LotteryError(f"{path} is malformed ({error})") from error


def _is_kept(weight: Tensor) -> Tensor:
    """What is not zero to the bit: a negative zero is a value that comes back."""
    numbers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return weight.contiguous().view(numbers) != 0
