"""How small a pruned model could be, and how small its file is."""

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
    """``bytes`` of the file, and what the weights alone take otherwise.

    ``bound_bytes``: n H(p) bits for the mask of each matrix of n weights of which the share p
    is left (no code for independent places is shorter on average), a number for each value that
    is left, or one bit where all of a matrix have one magnitude, and a number for each parameter
    that is no matrix. ``dense_bytes``: a number for each parameter. ``csr_bytes``: matrices as
    compressed sparse rows with 32-bit indices. ``number_bytes`` is 4, or 2 where all weights are
    numbers of fp16 or all are of bf16, however the file stores them.
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
    """Bytes that hold each of the weights as it is: fairseq stores halves as fp32, too."""
    shorter = [torch.float16, torch.bfloat16]
    for weight in weights:
        shorter = [kind for kind in shorter if torch.equal(weight.to(kind).float(), weight.float())]
    return _HALF if shorter else _NUMBER


def _entropy(ones: int, size: int) -> float:
    """Bits that name ``ones`` places out of ``size``, each as likely as the other."""
    shares = (share for share in (ones / size, 1 - ones / size) if share > 0) if size else ()
    return -size * sum(share * math.log2(share) for share in shares)


def rounded(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Values as a shorter type would hold them, in their own type: the rest of each is zeros."""
    return {
        name: tensor.to(dtype).to(tensor.dtype) if name.startswith("values/") else tensor
        for name, tensor in tensors.items()
    }


def line(found: dict[str, Any]) -> str:
    """The sizes as one line for a reader."""
    megabytes = {key: f"{found[f'{key}_bytes'] / 1e6:.2f} MB" for key in ("bound", "dense", "csr")}
    ratio = found["bytes"] / max(found["bound_bytes"], 1)
    return (
        f"size {found['bytes'] / 1e6:.2f} MB, {ratio:.3f} of the bound {megabytes['bound']};"
        f" dense {megabytes['dense']}, CSR {megabytes['csr']}; the bound is for the masks' entropy"
        f" and {8 * found['number_bytes']} bits a survivor, 1 bit where only signs differ"
    )


#: real numbers -> whole ones of as many bits
_WHOLE = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def negative_zeros(weights: dict[str, Tensor], mask: Optional[Mask]) -> int:
    """Weights of matrices that are -0.0 and that no mask prunes: compact files hold each."""
    count = 0
    for name, weight in weights.items():
        if weight.dim() == 2:
            found = _is_negative_zero(weight)
            kept = found & mask[name] if mask is not None and name in mask else found
            count += int(torch.count_nonzero(kept))
    return count


def without_negative_zeros(tensor: Tensor) -> Tensor:
    """The same numbers; -0.0 is 0.0."""
    return tensor.masked_fill(_is_negative_zero(tensor), 0)


def _is_negative_zero(tensor: Tensor) -> Tensor:
    # by its bits, all zero but the sign's: torch.signbit of torch 1.12 does not see it
    whole = _WHOLE.get(tensor.dtype)
    if whole is None:
        return torch.zeros(tensor.shape, dtype=torch.bool)
    return tensor.contiguous().view(whole) == torch.iinfo(whole).min


def advice(found: dict[str, Any]) -> Optional[str]:
    """What would make a file smaller, in a sentence."""
    if not found["negative_zeros"]:
        return None
    return (
        f"{found['negative_zeros']} weights are negative zeros, which compact files keep as values;"
        " --round zeros drops their signs"
    )
