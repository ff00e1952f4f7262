"""How much is pruned, and when."""

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
    """Sparsity of each round of an iterative technique.

    Either a fixed rising list, or ``count`` rounds that each remove ``fraction`` of what
    remains (Frankle & Carbin 2019; Yu et al. 2020 and Renda et al. 2020 take 0.2).
    """
    if sparsities is not None:
        values = list(sparsities)
    elif fraction is not None and count is not None:
        check_sparsity(fraction, "the fraction removed per round,")
        values = [1 - (1 - fraction) ** (i + 1) for i in range(count)]
    else:
        raise LotteryError("rounds need a list of sparsities, or a fraction and a count")
    for value in values:
        check_sparsity(value)
    if not values or any(b <= a for a, b in zip(values, values[1:])):
        raise LotteryError(f"the sparsities of the rounds must rise, and {values} do not")
    return values
