"""How small a pruned model could be, and how small its file is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.masks import Mask

#: bytes of a number in a dense checkpoint, and of an index in a sparse matrix
_NUMBER, _INDEX = 4, 4


def sizes(path: Union[str, Path], weights: dict[str, Tensor], mask: Mask) -> dict[str, int]:
    """``bytes`` of the file, and what the weights alone take otherwise.

    ``bound_bytes``: n H(p) bits for the mask of each matrix of n weights of which the share p
    is left (no code for independent places is shorter on average), 32 bits for each value that
    is left, or one where all of a matrix have one magnitude, and 32 bits for each parameter
    that is no matrix. ``dense_bytes``: 32 bits for each parameter. ``csr_bytes``: matrices as
    compressed sparse rows with 32-bit indices.
    """
    bound = csr = 0.0
    for name, weight in weights.items():
        if name not in mask:
            bound += _NUMBER * weight.numel()
            csr += _NUMBER * weight.numel()
            continue
        kept = weight[mask[name]]
        bound += _entropy(kept.numel(), weight.numel()) / 8
        one_magnitude = kept.numel() > 1 and bool((kept.abs() == kept[0].abs()).all())
        bound += kept.numel() / 8 + _NUMBER if one_magnitude else _NUMBER * kept.numel()
        csr += (_NUMBER + _INDEX) * kept.numel() + _INDEX * (weight.shape[0] + 1)
    return {
        "bytes": Path(path).stat().st_size,
        "bound_bytes": math.ceil(bound),
        "dense_bytes": _NUMBER * sum(weight.numel() for weight in weights.values()),
        "csr_bytes": round(csr),
    }


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
        f" dense {megabytes['dense']}, CSR {megabytes['csr']}"
    )
