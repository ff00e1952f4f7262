"""Sparse evolutionary training (SET): regrow weights at random."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fairseq_lottery.masks.pruners.exchange import FRACTION, Exchange
from fairseq_lottery.masks.pruners.pruner import PrunerInput
from fairseq_lottery.masks.streams import uniform


@dataclass(frozen=True)
class SparseEvolutionary(Exchange):
    """SET pruner (Mocanu et al. 2018): prune the smallest survivors, regrow as many at random.

    It differs from the paper in four points. The fraction decays by a cosine (Dettmers &
    Zettlemoyer 2019, Evci et al. 2020) and is not constant. Positive and negative weights are
    ranked together. Regrown weights start at zero and not at random values. The densities of the
    first mask are those of ``--scope``; only ``erk`` has those of the paper (Erdős–Rényi).
    """

    final: float
    start: int
    end: int
    every: int
    fraction: float = FRACTION

    def regrowth(self, inputs: PrunerInput, name: str) -> Tensor:
        """Return random scores from a separate stream for every update."""
        keep = inputs.mask[name]
        key = f"set-regrowth|{inputs.seed}|{inputs.update}|{name}"
        return uniform(key, keep.numel()).reshape(keep.shape)
