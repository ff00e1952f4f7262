"""A step of a search: a model that was measured, and whether that is enough."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Generic, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.masks import Mask

#: what is searched for: open parts, or single weights
Choice = TypeVar("Choice", Parts, Mask)


@dataclass(frozen=True)
class Step(Generic[Choice]):
    """A model that was measured.

    Attributes:
        phase: ``full`` for the one that the search starts from; then what was pruned:
            ``heads+blocks``, ``heads``, ``units``, ``blocks`` or ``weights``.
        choice: what is left of it.
        metric: more is better.
        enough: whether that is at least the share asked for of the full model's.
    """

    phase: str
    choice: Choice
    metric: float
    enough: bool


def survivors(steps: Iterable[Step[Choice]]) -> Step[Choice]:
    """The last step that is enough: the result of a search, which this runs to its end."""
    found = None
    for step in steps:
        found = step if step.enough else found
    if found is None:
        raise LotteryError("no step of the search has enough of the full model's metric")
    return found


class Judge(Generic[Choice]):
    """Measures, and says whether it is enough.

    Args:
        measure: the metric of a model; more is better.
        share: of the full model's metric that is enough, in [0, 1]; with 0 everything is.

    Raises:
        LotteryError: the share is out of range.
    """

    def __init__(self, measure: Callable[[Choice], float], share: float) -> None:
        if not 0 <= share <= 1:
            raise LotteryError(f"a share of {share:g} of the full model's metric is outside [0, 1]")
        self._measure: Callable[[Choice], float] = measure
        self._share, self._bound = share, -math.inf

    def full(self, choice: Choice) -> Step[Choice]:
        """The first step, which sets the bound; refuses a metric that has no share."""
        metric = self._measure(choice)
        if self._share:
            if not 0 < metric < math.inf:
                raise LotteryError(
                    f"the full model's metric is {metric:g}, of which a share is no bound; measure"
                    " something above 0 of which more is better"
                )
            self._bound = self._share * metric
        return Step("full", choice, metric, True)

    def step(self, phase: str, choice: Choice) -> Step[Choice]:
        """A step; a metric that is not a number is not enough."""
        metric = self._measure(choice)
        return Step(phase, choice, metric, metric >= self._bound)
