"""Sparse evolutionary training: what comes back is left to chance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fairseq_lottery.masks.pruners.exchange import Exchange
from fairseq_lottery.masks.pruners.pruner import PrunerInput
from fairseq_lottery.masks.streams import uniform


@dataclass(frozen=True)
class SparseEvolutionary(Exchange):
    """SET (Mocanu et al. 2018): prune the smallest survivors, regrow as many at random.

    The fraction decays by a cosine, as in RigL (Evci et al. 2020). Mocanu et al. keep it constant
    and prune the smallest positive and the largest negative weights, which are the smallest
    magnitudes of either sign.
    """

    final: float
    start: int
    end: int
    every: int
    fraction: float = 0.3

    def regrowth(self, given: PrunerInput, name: str) -> Tensor:
        """Draw from a stream of its own for every update."""
        keep = given.mask[name]
        key = f"set-regrowth|{given.seed}|{given.update}|{name}"
        return uniform(key, keep.numel()).reshape(keep.shape)
