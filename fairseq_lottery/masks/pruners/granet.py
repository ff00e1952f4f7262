"""GraNet: gradual pruning in which weights also regrow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask
from fairseq_lottery.masks.pruners.exchange import Exchange
from fairseq_lottery.masks.pruners.gradual import Gradual
from fairseq_lottery.masks.pruners.pruner import Pruner, PrunerInput
from fairseq_lottery.masks.pruners.rigl import RigL
from fairseq_lottery.masks.schedules import check_sparsity


@dataclass(frozen=True)
class GraNet(Exchange):
    """GraNet pruner (Liu et al. 2021): at each step of a cubic schedule, prune, then exchange.

    The schedule starts at the sparsity of the mask: 0, or that of a ticket, such as a random one.
    Each step prunes the lowest scores up to the sparsity of the schedule. Then a share of the
    survivors is exchanged as RigL does. ``docs/techniques.md`` lists the differences from the
    released code.
    """

    needs: ClassVar[tuple[str, ...]] = RigL.needs
    keeps_pattern: ClassVar[bool] = False

    initial: float
    final: float
    start: int
    end: int
    every: int
    fraction: float = 0.5
    gradient_updates: int = 1

    regrowth = RigL.regrowth
    is_at_target = Pruner.is_at_target
    first_mask = Pruner.first_mask

    def __post_init__(self) -> None:
        check_sparsity(self.initial, "the ticket's sparsity")
        super().__post_init__()
        if self.final < self.initial:
            raise LotteryError(
                f"--prune-to {self.final:g} is below the sparsity {self.initial:g} of the mask;"
                " --pruner granet never decreases it"
            )

    def is_due(self, update: int) -> bool:
        """Return whether the mask changes after ``update`` updates: after start, and at end."""
        return update > self.start and Pruner.is_due(self, update)

    def sparsity_at(self, update: int) -> float:
        """Return the sparsity of the mask after ``update`` updates, by the cubic schedule."""
        schedule = Gradual(self.initial, self.final, self.start, self.end, self.every, "cubic")
        return schedule.sparsity_at(update)

    def next_mask(self, inputs: PrunerInput) -> Mask:
        """Prune the lowest scores up to the sparsity of this update, then exchange weights."""
        shrunk = inputs.select(inputs.scores, self.sparsity_at(inputs.update))
        return super().next_mask(replace(inputs, mask=shrunk))
