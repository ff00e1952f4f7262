"""Schedules of sparsities, and sparsities of iterative rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import SCHEDULE

#: schedule -> exponent of the remaining share (Zhu & Gupta 2017 use 3)
SCHEDULES: dict[str, int] = SCHEDULE.registry({"cubic": 3, "linear": 1, "one-shot": 0})


def check_sparsity(sparsity: float, flag: str = "--sparsity") -> None:
    """Refuse a sparsity outside [0, 1)."""
    if not 0 <= sparsity < 1:
        raise LotteryError(f"{flag} {sparsity:g} is outside [0, 1); 0.9 prunes 90 % of the weights")


def rounds(
    sparsities: Optional[Sequence[float]] = None,
    fraction: Optional[float] = None,
    count: Optional[int] = None,
) -> list[float]:
    """Return the sparsity of each round of an iterative technique.

    Pass a list of increasing sparsities, or ``count`` rounds that each prune ``fraction`` of the
    survivors (Frankle & Carbin 2019; Yu et al. 2020 and Renda et al. 2020 use 0.2).
    """
    if sparsities is not None:
        values = list(sparsities)
    elif fraction is not None and count is not None:
        check_sparsity(fraction, "a pruned share per round of")
        values = [1 - (1 - fraction) ** (i + 1) for i in range(count)]
    else:
        raise LotteryError("rounds require a list of sparsities, or a fraction and a count")
    for value in values:
        check_sparsity(value)
    if not values or any(b <= a for a, b in zip(values, values[1:])):
        raise LotteryError(f"the sparsities of the rounds must increase, found {values}")
    return values
