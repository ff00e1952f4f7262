"""Masks that are shuffled within each matrix, a control of Frankle et al. (2021).

If a shuffled mask trains as well as the mask itself, a method has found how many weights each
matrix needs, not which.
"""

from __future__ import annotations

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, pattern_of
from fairseq_lottery.masks.streams import permutation


def shuffled_mask(mask: Mask, seed: int) -> Mask:
    """Return a mask that prunes as many weights of each matrix as ``mask``, at random positions.

    Rows that are protected are not shuffled.

    Raises:
        LotteryError: the mask has a pattern N:M, which a shuffle would not keep.
    """
    pattern = pattern_of(mask)
    if pattern is not None:
        raise LotteryError(
            f"--shuffle-mask does not keep the pattern {pattern} of the mask; choose another mask"
        )
    entries = {}
    for name, keep in mask.items():
        is_free = torch.ones_like(keep)
        if name in mask.protected:
            is_free[mask.protected[name]] = False
        bits = keep[is_free]
        entries[name] = keep.clone()
        entries[name][is_free] = bits[permutation(f"shuffle-mask|{seed}|{name}", bits.numel())]
    return Mask(entries, mask.protected)
