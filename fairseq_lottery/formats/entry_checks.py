"""Checks for entries of untrusted files; each format combines them into one schema.

A check takes a value, its name for the message, and the size of its file in bytes, and raises
``LotteryError``. An entry that is None counts as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NoReturn

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import MOST_DIMENSIONS, refuse_other_than_json

Check = Callable[[Any, str, int], None]

#: names may share a tensor, as tied embeddings do: maximum ratio of all tensors to the file size
_MOST_SHARED = 32
_TYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def refuse(value: Any, name: str) -> NoReturn:
    """Raise an error with a short value, or else with its type."""
    shown = f"a {type(value).__name__}"
    if isinstance(value, str):
        shown = repr(value[:80])
    elif value is None or (isinstance(value, (int, float)) and abs(value) < 2**64):
        shown = repr(value)
    raise LotteryError(f"its {name} is {shown}")


def one_of(*kinds: type) -> Check:
    """Check that a value is an instance of one of these types; bool is not int."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            refuse(value, name)

    return check


def count(value: Any, name: str, size: int) -> None:
    """Check that a value is a nonnegative integer below 2**63."""
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(value, name)


def json_entries(value: Any, name: str, size: int) -> None:
    """Check that a value is a mapping that JSON can hold."""
    entries({})(value, name, size)
    refuse_other_than_json(value, f"its {name}")


def entries(checks: Mapping[str, Check], needed: tuple[str, ...] = (), names: type = str) -> Check:
    """Check the entries of a mapping whose keys are of the type ``names``.

    Only dictionaries are accepted: reading mappings of omegaconf runs code.
    """

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, names) for key in value):
            refuse(value, name)
        for key, entry_check in checks.items():
            if value.get(key) is not None:
                entry_check(value[key], f"{name}.{key}" if name else key, size)
            elif key in needed:
                raise LotteryError(f"its {name or 'record'} has no {key}")

    return check


def every(check_value: Check) -> Check:
    """Check all values of a mapping whose keys are strings."""

    def check(value: Any, name: str, size: int) -> None:
        entries({})(value, name, size)
        for key, item in value.items():
            check_value(item, f"{name}.{key}", size)

    return check


def list_of(check_item: Check) -> Check:
    """Check all items of a list."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, (list, tuple)):
            refuse(value, name)
        for number, item in enumerate(value):
            check_item(item, f"{name}[{number}]", size)

    return check


def row(*kinds: type) -> Check:
    """Check that a value is a list with one item of each of these types, in order."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, list) or tuple(map(type, value)) != kinds:
            refuse(value, name)

    return check


def tensors(value: Any, name: str, size: int) -> None:
    """Check that a mapping contains plain tensors that are not larger than their storage.

    Views such as ``expand`` represent tensors of any size by a few bytes.
    """
    if not isinstance(value, dict):
        refuse(value, name)
    total = 0
    for key, tensor in value.items():
        if not isinstance(tensor, Tensor):
            raise LotteryError(f"its {name} has {key!r}, which is not a tensor")
        if not isinstance(key, str) or not key or not key.isprintable():
            raise LotteryError(f"its {name} has the invalid name {key!r}")
        if not _is_plain_tensor(tensor):
            raise LotteryError(f"its {name} has {key!r}, which is not a plain tensor")
        total += tensor.numel() * tensor.element_size()
    if total > _MOST_SHARED * size:
        raise LotteryError(f"its {name} exceeds {_MOST_SHARED} times the file size")


def _is_plain_tensor(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_dense or tensor.dim() > MOST_DIMENSIONS or tensor.dtype not in _TYPES:
        return False
    stored = tensor.untyped_storage().nbytes() if hasattr(tensor, "untyped_storage") else None
    return stored is None or tensor.numel() * tensor.element_size() <= stored
