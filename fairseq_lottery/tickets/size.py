"""Sizes of a pruned model: of its file, and of the smallest possible file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.masks import Mask

#: bytes of a number, of one in half precision, and of an index in a sparse matrix
_NUMBER, _HALF, _INDEX = 4, 2, 4


def sizes(path: Union[str, Path], weights: dict[str, Tensor], mask: Mask) -> dict[str, int]:
    """Return ``bytes`` of the file, and the bytes of its weights in other encodings.

    * ``bound_bytes`` is the sum of three sizes. The mask of a matrix with n weights and density p
      takes n H(p) bits; no code for independent positions is shorter on average. Each kept weight
      takes one number, or one bit if all kept weights of the matrix have the same magnitude. Each
      other parameter takes one number.
    * ``dense_bytes``: one number for each parameter.
    * ``csr_bytes``: matrices as compressed sparse rows with 32-bit indices.
    * ``number_bytes``: bytes of a number: 4, or 2 if all weights are exact in fp16 or in bf16.
    """
    number = _number(weights.values())
    bound = csr = 0.0
    for name, weight in weights.items():
        if name not in mask:
            bound += number * weight.numel()
            csr += number * weight.numel()
            continue
        kept = weight[mask[name]]
        bound += _entropy(kept.numel(), weight.numel()) / 8
        one_magnitude = kept.numel() > 1 and bool((kept.abs() == kept[0].abs()).all())
        bound += kept.numel() / 8 + number if one_magnitude else number * kept.numel()
        csr += (number + _INDEX) * kept.numel() + _INDEX * (weight.shape[0] + 1)
    return {
        "bytes": Path(path).stat().st_size,
        "bound_bytes": math.ceil(bound),
        "dense_bytes": number * sum(weight.numel() for weight in weights.values()),
        "csr_bytes": round(csr),
        "number_bytes": number,
    }


def _number(weights: Iterable[Tensor]) -> int:
    """Return the bytes that store a weight exactly: 2 for half-precision weights stored as fp32."""
    exact = [torch.float16, torch.bfloat16]
    for weight in weights:
        exact = [dtype for dtype in exact if torch.equal(weight.to(dtype).float(), weight.float())]
    return _HALF if exact else _NUMBER


def _entropy(ones: int, size: int) -> float:
    """Return the bits that encode ``ones`` positions out of ``size``, all equally likely."""
    shares = (share for share in (ones / size, 1 - ones / size) if share > 0) if size else ()
    return -size * sum(share * math.log2(share) for share in shares)


def rounded(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Round the values to ``dtype``; they keep their type, and their last bits are zero."""
    return {
        name: tensor.to(dtype).to(tensor.dtype) if name.startswith("values/") else tensor
        for name, tensor in tensors.items()
    }


def line(description: dict[str, Any]) -> str:
    """Return the sizes as one line of text."""
    megabytes = {
        key: f"{description[f'{key}_bytes'] / 1e6:.2f} MB" for key in ("bound", "dense", "csr")
    }
    ratio = description["bytes"] / max(description["bound_bytes"], 1)
    return (
        f"size {description['bytes'] / 1e6:.2f} MB, {ratio:.3f} of the bound {megabytes['bound']};"
        f" dense {megabytes['dense']}, CSR {megabytes['csr']}; the bound is for the masks' entropy"
        f" and {8 * description['number_bytes']} bits a survivor, 1 bit where only signs differ"
    )


#: floating-point types -> integer types of the same size
_INTEGERS = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def negative_zeros(weights: dict[str, Tensor], mask: Optional[Mask]) -> int:
    """Count the kept weights of matrices that are -0.0; compact files store each of them."""
    count = 0
    for name, weight in weights.items():
        if weight.dim() == 2:
            negative = _is_negative_zero(weight)
            if mask is not None and name in mask:
                negative &= mask[name]
            count += int(torch.count_nonzero(negative))
    return count


def without_negative_zeros(tensor: Tensor) -> Tensor:
    """Return the tensor with 0.0 instead of -0.0."""
    return tensor.masked_fill(_is_negative_zero(tensor), 0)


def _is_negative_zero(tensor: Tensor) -> Tensor:
    # by its bits: torch.signbit of torch 1.12 misses negative zeros
    integers = _INTEGERS.get(tensor.dtype)
    if integers is None:
        return torch.zeros(tensor.shape, dtype=torch.bool)
    return tensor.contiguous().view(integers) == torch.iinfo(integers).min


def advice(description: dict[str, Any]) -> Optional[str]:
    """Return a sentence on how to make the file smaller, or None."""
    if not description["negative_zeros"]:
        return None
    return (
        f"{description['negative_zeros']} weights are -0.0, which compact files store as values;"
        " add --round zeros to store none of them"
    )
