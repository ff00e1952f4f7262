"""Sparse evolutionary training: what comes back is left to chance."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fairseq_lottery.masks.pruners.exchange import Exchange
from fairseq_lottery.masks.pruners.pruner import PrunerInput
from fairseq_lottery.masks.streams import uniform
from fairseq_lottery.options import Pruning


@dataclass(frozen=True)
class SparseEvolutionary(Exchange):
    """SET (Mocanu et al. 2018): prune the smallest survivors, regrow as many at random.

    Mocanu et al. keep the fraction constant; here it decays by a cosine (Dettmers & Zettlemoyer
    2019, Evci et al. 2020). They prune this fraction of the positive weights and of the negative
    ones, each by magnitude; here both are ranked together. They give new weights random values;
    here these start at zero. They prune matrices by their size (Erdős–Rényi); here ``--scope``
    says how many weights of each matrix the first mask prunes.
    """

    final: float
    start: int
    end: int
    every: int
    fraction: float = Pruning.fraction

    def regrowth(self, given: PrunerInput, name: str) -> Tensor:
        """Draw from a stream of its own for every update."""
        keep = given.mask[name]
        key = f"set-regrowth|{given.seed}|{given.update}|{name}"
        return uniform(key, keep.numel()).reshape(keep.shape)
