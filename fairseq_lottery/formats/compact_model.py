"""Compact models: mask, survivors and settings of a trained model in one container.

They store the plain checkpoint without an optimizer that ``export`` writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    refuse_other_count,
    scatter,
    survivors,
)
from fairseq_lottery.masks import Mask

KIND = "model"
_PARTS = ("mask", "values", "buffer")


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
    with _malformed(path):
        parts = container.split(path, tensors, _PARTS)
        mask = mask_from_state({**record["mask"], "bits": parts["mask"]})
        full = {name: scatter(path, mask, name, kept) for name, kept in parts["values"].items()}
        full.update(parts["buffer"])
        refuse_not_finite(full, path)
        state = _state_of(record, full)
        state["model"] = {name: tensor.clone() for name, tensor in state["model"].items()}
        return state, mask


class PackedModel:
    """A compact model whose parameters are unpacked one at a time.

    Attributes:
        path: path of the file.
        state: the plain checkpoint; tensors of its ``model`` have no content (device ``meta``).
        weights: name -> parameter without content, a tied one once.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        """Read and check everything in the file.

        Raises:
            LotteryError: as in ``load_model``.
        """
        tensors, record = container.load(path, KIND)
        self.path = path
        with _malformed(path):
            parts = container.split(path, tensors, _PARTS)
            self._bits, self._values, self._layout = parts["mask"], parts["values"], record["mask"]
            masked = self._bits.keys()
            fits = set(self._layout["protected"]) <= masked == set(self._layout["shapes"])
            if not fits or not masked or not masked <= self._values.keys():
                raise LotteryError("its mask does not fit its weights")
            refuse_not_finite({**self._values, **parts["buffer"]}, path)
            # torch allocates memory when content is written
            forms = {name: self._form(name) for name in self._values}
            empty = {name: torch.empty(shape, dtype=kind) for name, (shape, kind) in forms.items()}
            self.state = _state_of(record, {**empty, **parts["buffer"]})
        model = {name: tensor.to("meta") for name, tensor in self.state["model"].items()}
        self.state["model"] = model
        self.weights = {name: model[name] for name in self._values}

    def take(self, name: str) -> tuple[Optional[Tensor], Tensor]:
        """Remove a parameter from this object, and return it.

        Returns:
            Where the mask keeps weights, as a bool tensor of the parameter's shape, and the kept
            weights in row-major order. Without a mask None, and the whole parameter.
        """
        kept = self._kept(name)
        self._bits.pop(name, None)
        return kept, self._values.pop(name)

    def _kept(self, name: str) -> Optional[Tensor]:
        if name not in self._bits:
            return None
        protected = self._layout["protected"]
        mask = mask_from_state(
            {
                "bits": {name: self._bits[name]},
                "shapes": {name: self._layout["shapes"][name]},
                "protected": {name: protected[name]} if name in protected else {},
            }
        )
        refuse_other_count(self.path, mask, name, self._values[name])
        return mask[name]

    def _form(self, name: str) -> tuple[torch.Size, torch.dtype]:
        """Return shape and type of a parameter."""
        kept, values = self._kept(name), self._values[name]
        return (values if kept is None else kept).shape, values.dtype


def _state_of(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the plain checkpoint of a record; tied tensors share their storage."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    full = {**tensors, **{alias: tensors[name] for alias, name in record["ties"].items()}}
    if sorted(record["names"]) != sorted(full) or "model" in record["settings"]:
        raise LotteryError("its names do not match its tensors")
    settings = {key: from_json(value) for key, value in record["settings"].items()}
    state = {"model": {name: full[name] for name in record["names"]}, **settings}
    refuse_malformed_state(state, size)
    return state


@contextmanager
def _malformed(path: Union[str, Path]) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise LotteryError(f"{path} is malformed ({error})") from error


def _is_kept(weight: Tensor) -> Tensor:
    """Return which weights have a nonzero bit; -0.0 has one."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return weight.contiguous().view(integers) != 0
