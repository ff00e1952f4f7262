"""``Change``: how far weights moved between two models, and how many kept their sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class Change:
    """Counts and sums over weights, which add up over matrices.

    Attributes:
        signed: number of weights that are not zero at the start.
        same_signs: number of these whose sign is the same at the end; zero has no sign.
        squared_distance: sum of (end - start)².
        squared_start: sum of start².
        squared_end: sum of end².
    """

    signed: int = 0
    same_signs: int = 0
    squared_distance: float = 0.0
    squared_start: float = 0.0
    squared_end: float = 0.0

    @classmethod
    def of(cls, start: Array, end: Array, counted: Optional[Array] = None) -> Change:
        """Compare a matrix of two models.

        Args:
            start, end: weights of equal shape.
            counted: bool array of the weights that count, such as the survivors; None for all.

        Raises:
            LotteryError: the shapes differ.
        """
        if start.shape != end.shape:
            raise LotteryError(f"weights of shape {start.shape} and {end.shape} do not pair")
        if counted is not None:
            start, end = start[counted], end[counted]
        first, last = start.astype(np.float64), end.astype(np.float64)
        return cls(
            signed=int(np.count_nonzero(first)),
            same_signs=int(np.count_nonzero(np.sign(first) * np.sign(last) > 0)),
            squared_distance=float(np.square(last - first).sum()),
            squared_start=float(np.square(first).sum()),
            squared_end=float(np.square(last).sum()),
        )

    def __add__(self, other: Change) -> Change:
        return Change(
            self.signed + other.signed,
            self.same_signs + other.same_signs,
            self.squared_distance + other.squared_distance,
            self.squared_start + other.squared_start,
            self.squared_end + other.squared_end,
        )

    @property
    def agreement(self) -> Optional[float]:
        """Share of the signs at the start that are the same at the end; None without signs.

        Zhou et al. 2019 and the constant tickets of Brix et al. 2020 (section 2.4) rest on signs.
        Independent weights agree in half of them; a pruned weight has lost its sign.
        """
        return self.same_signs / self.signed if self.signed else None

    @property
    def distance(self) -> float:
        """Euclidean distance, in the unit of the weights."""
        return float(np.sqrt(self.squared_distance))

    @property
    def relative_distance(self) -> Optional[float]:
        """Distance divided by the norm at the start; None if all weights start at zero."""
        if not self.squared_start:
            return None
        return float(np.sqrt(self.squared_distance / self.squared_start))

    @property
    def cosine(self) -> Optional[float]:
        """Cosine of the angle between start and end; None if one of them is zero."""
        norms = float(np.sqrt(self.squared_start * self.squared_end))
        if not norms:
            return None
        product = (self.squared_start + self.squared_end - self.squared_distance) / 2
        return min(1.0, max(-1.0, product / norms))
