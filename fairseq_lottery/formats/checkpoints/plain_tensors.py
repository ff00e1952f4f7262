"""What of a checkpoint is plain: mappings by name, counts, and tensors no larger than the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import MOST_DIMENSIONS

#: names may share one tensor, as tied embeddings do; all names together stay within this
#: many times the file
_MOST_SHARED = 32


def mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An entry that is a mapping with names as keys; empty where it is not there."""
    found = values.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise LotteryError(f"its {name} is a {type(found).__name__}")
    return found


def is_int(value: Any) -> bool:
    """Whether it is a count that fits 64 bits."""
    return type(value) is int and 0 <= value < 2**63


def is_count(value: Any) -> bool:
    """As ``is_int``; None says no count."""
    return value is None or is_int(value)


def refuse_other_tensors(tensors: Mapping[str, Any], what: str, size: int) -> None:
    """Refuse what is no plain tensor, and tensors that are larger than what they are stored in.

    A few bytes can stand for a tensor of any size, which the first operation on it would need.
    """
    total = 0
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise LotteryError(f"its {what} holds more than tensors")
        if not isinstance(name, str) or not name or not name.isprintable():
            raise LotteryError(f"its {what} has the name {name!r}")
        if not _is_plain_tensor(tensor):
            raise LotteryError(f"its {what} has a {name} that is no plain tensor")
        total += tensor.numel() * tensor.element_size()
    if total > _MOST_SHARED * size:
        raise LotteryError(f"its {what} is larger than the file")


def _is_plain_tensor(tensor: Tensor) -> bool:
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    plain = plain and tensor.dim() <= MOST_DIMENSIONS
    if not plain or tensor.is_quantized or tensor.is_complex() or tensor.element_size() < 1:
        return False
    kinds: Iterable[torch.dtype] = (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
    stored = tensor.untyped_storage().nbytes() if hasattr(tensor, "untyped_storage") else None
    needed = tensor.numel() * tensor.element_size()
    return tensor.dtype in kinds and (stored is None or needed <= stored)
