"""Barriers on the line between two models: linear mode connectivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class Line:
    """A loss or an error on the line between two models.

    Attributes:
        alphas: positions on the line, from 0 (first model) to 1 (second model).
        values: loss or error at each position.

    Raises:
        LotteryError: the positions do not increase from 0 to 1, or a value is missing.
    """

    alphas: Sequence[float]
    values: Sequence[float]

    def __post_init__(self) -> None:
        steps = np.diff(self.alphas)
        if len(self.alphas) < 2 or len(self.alphas) != len(self.values):
            raise LotteryError(
                f"a line has {len(self.alphas)} positions and {len(self.values)} values; give at"
                " least 2 of each"
            )
        if self.alphas[0] != 0 or self.alphas[-1] != 1 or not (steps > 0).all():
            raise LotteryError("the positions of a line must increase from 0 to 1")

    @property
    def barrier(self) -> float:
        """Highest value minus the mean of both ends, at least 0.

        It is the linear interpolation instability of Frankle et al. 2020 (section 2), there of the
        error. It is half the difference of the ends where the line has no bump between them.
        """
        return float(max(self.values) - (self.values[0] + self.values[-1]) / 2)

    @property
    def bump(self) -> float:
        """Highest value above the straight line between the values of both ends, at least 0.

        It is the barrier of Entezari et al. 2022 (equation 1), which is 0 between models of
        different quality if the loss has no bump.
        """
        alphas, values = np.asarray(self.alphas), np.asarray(self.values, dtype=np.float64)
        straight = (1 - alphas) * values[0] + alphas * values[-1]
        return max(float((values - straight).max()), 0.0)

    @property
    def top(self) -> float:
        """Position of the highest value."""
        return float(self.alphas[int(np.argmax(self.values))])
