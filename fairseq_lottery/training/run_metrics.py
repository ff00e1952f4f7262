"""What a training's log says of its mask and of what training does to the survivors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from fairseq_lottery.adapters import GROUPS, group_of
from fairseq_lottery.masks import Mask


def signs_of(weight: Tensor) -> np.ndarray:
    """One bit a weight, packed into bytes: whether it is negative."""
    return np.packbits((weight.detach() < 0).reshape(-1).cpu().numpy(), bitorder="little")


def figures(
    mask: Mask, weights: Mapping[str, Tensor], start_signs: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Sparsity, density per group, share of sign flips, norm of the survivors.

    Args:
        mask: that is enforced; its prunable weights are every denominator here, except of
            ``sign_flips``, whose denominator is the survivors.
        weights: name -> weight, zero where pruned.
        start_signs: name -> ``signs_of`` the weight that training started from.
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
    found = {"sparsity": mask.sparsity}
    found.update({f"density_{g}": kept[g] / size[g] for g in size if size[g]})
    found["sign_flips"] = flips / max(sum(kept.values()), 1)
    found["survivor_norm"] = squares**0.5
    return found
