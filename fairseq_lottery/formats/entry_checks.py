"""Checks of what untrusted files hold; each format states its entries once, as a schema of these.

A check takes a value, its name for the message, and the size of its file in bytes; it raises
``LotteryError``. Entries that are None count as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NoReturn

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import MOST_DIMENSIONS, refuse_other_than_json

Check = Callable[[Any, str, int], None]

#: names may share one tensor, as tied embeddings do; all names together stay within this
#: many times the file
_MOST_SHARED = 32
_TYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def refuse(value: Any, name: str) -> NoReturn:
    """Refuse a value, and name it if it is short, else its type."""
    told = f"a {type(value).__name__}"
    if isinstance(value, str):
        told = repr(value[:80])
    elif value is None or (isinstance(value, (int, float)) and abs(value) < 2**64):
        told = repr(value)
    raise LotteryError(f"its {name} is {told}")


def one_of(*kinds: type) -> Check:
    """Check that a value is an instance of one of these types; True is no number."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            refuse(value, name)

    return check


def count(value: Any, name: str, size: int) -> None:
    """Check that a value is an integer from 0 that fits 64 bits."""
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(value, name)


def json_entries(value: Any, name: str, size: int) -> None:
    """Check that a value is a mapping that JSON can hold."""
    entries({})(value, name, size)
    refuse_other_than_json(value, f"its {name}")


def entries(checks: Mapping[str, Check], needed: tuple[str, ...] = (), names: type = str) -> Check:
    """Check the entries of a mapping whose keys are of the type ``names``.

    Mappings are dictionaries: omegaconf's classes run code of their own where they are read.
    """

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, names) for key in value):
            refuse(value, name)
        for key, one in checks.items():
            if value.get(key) is not None:
                one(value[key], f"{name}.{key}" if name else key, size)
            elif key in needed:
                raise LotteryError(f"its {name or 'record'} has no {key}")

    return check


def every(one: Check) -> Check:
    """Check all values of a mapping, whose keys are texts."""

    def check(value: Any, name: str, size: int) -> None:
        entries({})(value, name, size)
        for key, item in value.items():
            one(item, f"{name}.{key}", size)

    return check


def list_of(one: Check) -> Check:
    """Check all items of a list."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, (list, tuple)):
            refuse(value, name)
        for number, item in enumerate(value):
            one(item, f"{name}[{number}]", size)

    return check


def row(*kinds: type) -> Check:
    """Check that a value is a list of items of exactly these types, one each."""

    def check(value: Any, name: str, size: int) -> None:
        if not isinstance(value, list) or tuple(map(type, value)) != kinds:
            refuse(value, name)

    return check


def tensors(value: Any, name: str, size: int) -> None:
    """Check that a mapping holds plain tensors, no larger than what they are stored in.

    A few bytes can stand for a tensor of any size, which the first operation on it would need.
    """
    if not isinstance(value, dict):
        refuse(value, name)
    total = 0
    for key, tensor in value.items():
        if not isinstance(tensor, Tensor):
            raise LotteryError(f"its {name} holds more than tensors")
        if not isinstance(key, str) or not key or not key.isprintable():
            raise LotteryError(f"its {name} has the name {key!r}")
        if not _is_plain_tensor(tensor):
            raise LotteryError(f"its {name} has a {key} that is no plain tensor")
        total += tensor.numel() * tensor.element_size()
    if total > _MOST_SHARED * size:
        raise LotteryError(f"its {name} is larger than the file")


def _is_plain_tensor(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_dense or tensor.dim() > MOST_DIMENSIONS or tensor.dtype not in _TYPES:
        return False
    stored = tensor.untyped_storage().nbytes() if hasattr(tensor, "untyped_storage") else None
    return stored is None or tensor.numel() * tensor.element_size() <= stored
