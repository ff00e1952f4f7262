"""Gradual pruning: a sparsity that increases during training."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.pruner import Pruner, PrunerInput
from fairseq_lottery.masks.schedules import SCHEDULES, check_sparsity
from fairseq_lottery.options import Schedule
from fairseq_lottery.options.axes import SCHEDULE


@dataclass(frozen=True)
class Gradual(Pruner):
    """Pruner that increases the sparsity by a schedule; pruned weights stay pruned.

    s(u) = s_T + (s_0 - s_T) * (1 - (u - start) / (end - start)) ** exponent, for updates u
    from ``start`` to ``end`` in steps of ``every`` (Zhu & Gupta 2017; Brix et al. 2020,
    section 2.1, with exponent 3). ``one-shot`` prunes to s_T at ``start``.
    """

    initial: float
    final: float
    start: int
    end: int
    every: int
    schedule: str = Schedule.schedule

    def __post_init__(self) -> None:
        check_sparsity(self.initial, "the ticket's sparsity")
        super().__post_init__()
        SCHEDULE.refuse_unknown(self.schedule)
        if self.final < self.initial:
            raise LotteryError(
                f"--prune-to {self.final:g} is below the sparsity {self.initial:g} of the mask;"
                " a schedule only increases the sparsity"
            )
        if self.schedule != "one-shot" and self.start == self.end:
            raise LotteryError(
                f"--prune-start and --prune-end are both {self.end}; a {self.schedule} schedule"
                " requires updates in between; give them, or use --prune-schedule one-shot"
            )

    def describe(self) -> str:
        """Return the schedule in a few words for error messages."""
        return f"{super().describe()}, {self.schedule}"

    def is_due(self, update: int) -> bool:
        """Return whether the mask changes after ``update`` updates."""
        if self.schedule == "one-shot":
            return update == self.start
        return super().is_due(update)

    def is_active(self, update: int) -> bool:
        """Return whether the mask will still change after ``update`` updates."""
        return update < (self.start if self.schedule == "one-shot" else self.end)

    def sparsity_at(self, update: int) -> float:
        """Return the sparsity of the mask after ``update`` updates: that of the last step."""
        if not self.is_active(update):
            return self.final
        if update < self.start + self.every:  # exact: rounding must not give less
            return self.initial
        step = update - (update - self.start) % self.every
        remaining = 1 - (step - self.start) / (self.end - self.start)
        return self.final + (self.initial - self.final) * remaining ** SCHEDULES[self.schedule]

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune the lowest scores up to the sparsity of this update."""
        sparsity = self.sparsity_at(inputs.update)
        return inputs.select(inputs.scores, sparsity)
