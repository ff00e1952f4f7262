"""Metrics of a mask and its survivors for the log of a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from fairseq_lottery.adapters import GROUPS, group_of
from fairseq_lottery.masks import Mask


def signs_of(weight: Tensor) -> np.ndarray:
    """Return one bit per weight, packed into bytes: 1 if the weight is negative."""
    return np.packbits((weight.detach() < 0).reshape(-1).cpu().numpy(), bitorder="little")


def compute_metrics(
    mask: Mask, weights: Mapping[str, Tensor], start_signs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return sparsity, density per group, share of sign flips and norm of the survivors.

    Shares are of the prunable weights, except ``sign_flips``, which is a share of the survivors.

    Args:
        mask: mask that is enforced.
        weights: name -> weight, zero where pruned.
        start_signs: name -> ``signs_of`` of the weight at the start of training.
    """
    size = dict.fromkeys([*GROUPS, "other"], 0)
    kept = dict(size)
    flips = 0
    squares = 0.0
    packed = mask.pack()
    for name, bits in packed.items():
        group = group_of(name)
        size[group] += mask.size(name)
        kept[group] += mask.size(name) - mask.pruned_in(name)
        weight = weights[name].detach()
        squares += float(weight.float().pow(2).sum())
        packed_flips = np.bitwise_xor(signs_of(weight), start_signs[name]) & bits
        flipped = np.unpackbits(packed_flips, count=weight.numel(), bitorder="little")
        if name in mask.protected:
            flipped.reshape(weight.shape)[mask.protected[name]] = 0
        flips += int(flipped.sum())
    metrics = {"sparsity": mask.sparsity}
    metrics.update({f"density_{g}": kept[g] / size[g] for g in size if size[g]})
    metrics["sign_flips"] = flips / max(sum(kept.values()), 1)
    metrics["survivor_norm"] = squares**0.5
    return metrics
