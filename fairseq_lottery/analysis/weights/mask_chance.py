"""Overlap of masks against chance: the exact law of the shared survivors of independent masks.

If two masks keep ``a`` and ``b`` of ``size`` weights of a matrix at random, the number of weights
that both keep is hypergeometric. Over several matrices it is the sum of independent numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.errors import LotteryError

#: standard deviations on each side that are tabulated; the rest has less than 1e-30 of the mass
_REACH = 12
#: chances that are cut off at the ends of a sum
_NEGLIGIBLE = 1e-25


@dataclass(frozen=True)
class SharedByChance:
    """Distribution of the number of weights that two independent masks both keep.

    Attributes:
        matrices: prunable weights of each matrix, and the number that each mask keeps of them.

    Raises:
        LotteryError: a mask keeps more weights than there are.
    """

    matrices: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        for size, kept_a, kept_b in self.matrices:
            if not (0 <= kept_a <= size and 0 <= kept_b <= size):
                raise LotteryError(f"masks cannot keep {kept_a} and {kept_b} of {size} weights")

    def __add__(self, other: SharedByChance) -> SharedByChance:
        return SharedByChance((*self.matrices, *other.matrices))

    @property
    def mean(self) -> float:
        """Exact mean."""
        return math.fsum(a * b / max(size, 1) for size, a, b in self.matrices)

    @property
    def variance(self) -> float:
        """Exact variance."""
        return math.fsum(_variance(*one) for one in self.matrices)

    @property
    def deviation(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.variance)

    @cached_property
    def table(self) -> tuple[int, Array]:
        """Smallest number, and the probabilities of it and of the numbers after it."""
        from scipy.signal import convolve

        first, chances = 0, np.ones(1)
        for one in self.matrices:
            own_first, own = _table(*one)
            sums = np.clip(convolve(chances, own), 0, None)
            likely = np.flatnonzero(sums > _NEGLIGIBLE)
            chances = sums[likely[0] : likely[-1] + 1]
            first += own_first + int(likely[0])
        return first, chances / chances.sum()

    def expect(self, function: Callable[[Array], Array]) -> tuple[float, float]:
        """Return mean and standard deviation of a function of the number."""
        first, chances = self.table
        values = function(first + np.arange(len(chances), dtype=np.float64))
        mean = float(chances @ values)
        return mean, math.sqrt(float(chances @ (values - mean) ** 2))


def _variance(size: int, kept_a: int, kept_b: int) -> float:
    pruned = (size - kept_a) * (size - kept_b)
    return kept_a * kept_b * pruned / (size * size * (size - 1)) if size > 1 else 0.0


@lru_cache(maxsize=512)
def _table(size: int, kept_a: int, kept_b: int) -> tuple[int, Array]:
    """Return the likely numbers of one matrix: the smallest one, and the probabilities."""
    from scipy.stats import hypergeom

    mean = kept_a * kept_b / max(size, 1)
    reach = 64 + _REACH * math.sqrt(_variance(size, kept_a, kept_b))
    first = max(0, kept_a + kept_b - size, math.floor(mean - reach))
    last = min(kept_a, kept_b, math.ceil(mean + reach))
    chances = hypergeom.pmf(np.arange(first, last + 1), size, kept_a, kept_b)
    return first, chances / chances.sum()


@dataclass(frozen=True)
class MaskOverlap:
    """Survivors of two masks, which add up over matrices.

    Attributes:
        kept_a, kept_b: number of weights that each mask keeps.
        shared: number of weights that both keep.
        chance: law of ``shared`` for independent masks that keep as many weights of each matrix.
    """

    kept_a: int
    kept_b: int
    shared: int
    chance: SharedByChance

    @classmethod
    def of(cls, keep_a: Array, keep_b: Array) -> MaskOverlap:
        """Compare the prunable weights of a matrix under two masks.

        Args:
            keep_a, keep_b: bool arrays of equal shape; True where a weight is kept.

        Raises:
            LotteryError: the shapes differ.
        """
        if keep_a.shape != keep_b.shape:
            raise LotteryError(f"masks of shape {keep_a.shape} and {keep_b.shape} do not pair")
        a, b = int(np.count_nonzero(keep_a)), int(np.count_nonzero(keep_b))
        shared = int(np.count_nonzero(keep_a & keep_b))
        return cls(a, b, shared, SharedByChance(((keep_a.size, a, b),)))

    def __add__(self, other: MaskOverlap) -> MaskOverlap:
        return MaskOverlap(
            self.kept_a + other.kept_a,
            self.kept_b + other.kept_b,
            self.shared + other.shared,
            self.chance + other.chance,
        )

    def _jaccard(self, shared: Any) -> Any:
        return shared / np.maximum(self.kept_a + self.kept_b - shared, 1)

    @property
    def jaccard(self) -> float:
        """Weights that both masks keep, divided by the weights that either keeps."""
        return float(self._jaccard(self.shared))

    @property
    def jaccard_by_chance(self) -> tuple[float, float]:
        """Mean and standard deviation of ``jaccard`` for independent masks."""
        return self.chance.expect(self._jaccard)

    @property
    def share(self) -> float:
        """Share of the survivors of the first mask that the second one keeps too."""
        return self.shared / max(self.kept_a, 1)

    @property
    def share_by_chance(self) -> tuple[float, float]:
        """Mean and standard deviation of ``share`` for independent masks."""
        kept = max(self.kept_a, 1)
        return self.chance.mean / kept, self.chance.deviation / kept

    @property
    def deviations(self) -> float:
        """Distance of ``shared`` from its mean by chance, in standard deviations.

        Above 5, chance does not explain the overlap. It is 0 if a mask keeps or prunes everything.
        """
        difference = self.shared - self.chance.mean
        return difference / self.chance.deviation if self.chance.variance else 0.0
