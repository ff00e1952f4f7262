"""How much is pruned, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import SCHEDULE

#: schedule -> exponent of the remaining share (Zhu & Gupta 2017 use 3)
SCHEDULES: dict[str, int] = SCHEDULE.registry({"cubic": 3, "linear": 1, "one-shot": 0})


def check_sparsity(sparsity: float, flag: str = "--sparsity") -> None:
    """Refuse a sparsity outside [0, 1)."""
    if not 0 <= sparsity < 1:
        raise LotteryError(f"{flag} {sparsity:g} is outside [0, 1); 0.9 prunes 90 % of the weights")


@dataclass(frozen=True)
class Gradual:
    """Sparsity that grows during training.

    s(u) = s_T + (s_0 - s_T) * (1 - (u - start) / (end - start)) ** exponent, for updates u
    from ``start`` to ``end`` in steps of ``every`` (Zhu & Gupta 2017; Brix et al. 2020,
    section 2.1, with exponent 3). ``one-shot`` prunes to s_T at ``start``.
    """

    initial: float
    final: float
    start: int
    end: int
    every: int
    schedule: str = "cubic"

    def __post_init__(self) -> None:
        check_sparsity(self.initial, "the ticket's sparsity")
        check_sparsity(self.final, "--prune-to")
        SCHEDULE.refuse_unknown(self.schedule)
        if self.final < self.initial:
            raise LotteryError(
                f"--prune-to {self.final:g} is below the {self.initial:g} that is pruned already;"
                " masks only shrink"
            )
        if self.every < 1:
            raise LotteryError(f"--prune-every {self.every} must be at least 1")
        if not 0 <= self.start <= self.end:
            raise LotteryError(
                f"--prune-start {self.start} must lie in 0 to --prune-end {self.end}"
            )
        if self.schedule != "one-shot" and self.start == self.end:
            raise LotteryError(
                f"--prune-start and --prune-end are both {self.end}; a {self.schedule} schedule"
                " needs updates in between, or choose --prune-schedule one-shot"
            )

    def is_due(self, update: int) -> bool:
        """Whether the mask grows after ``update`` updates."""
        if self.schedule == "one-shot":
            return update == self.start
        inside = self.start <= update <= self.end
        return inside and ((update - self.start) % self.every == 0 or update == self.end)

    def sparsity_at(self, update: int) -> float:
        """Sparsity that is due after ``update`` updates."""
        if not self.is_growing(update):
            return self.final
        if update <= self.start:  # exactly: rounding must not ask for less than is pruned
            return self.initial
        left = 1 - (update - self.start) / (self.end - self.start)
        return self.final + (self.initial - self.final) * left ** SCHEDULES[self.schedule]

    def reached(self, update: int) -> float:
        """Sparsity that a mask has after ``update`` updates: what was due last."""
        if not self.is_growing(update) or update < self.start:
            return self.sparsity_at(update)
        return self.sparsity_at(update - (update - self.start) % self.every)

    def is_growing(self, update: int) -> bool:
        """Whether the target is still ahead after ``update`` updates."""
        return update < (self.start if self.schedule == "one-shot" else self.end)


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
