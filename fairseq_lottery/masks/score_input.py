"""``ScoreInput``: what a score function gets, and the mark of what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

from torch import Tensor


@dataclass(frozen=True)
class ScoreInput:
    """Input of a score, which must not change it: one matrix in fp32.

    Attributes:
        name: name of the parameter.
        trained: trained weights.
        start: weights at the start of the training, for scores that need ``start``.
        gradient: summed gradient, for scores that need ``gradient``.
        seed: seed of the draw; random scores derive their own generator from it and ``name``.
    """

    name: str
    trained: Tensor
    start: Optional[Tensor] = None
    gradient: Optional[Tensor] = None
    seed: int = 1


Score = Callable[[ScoreInput], Tensor]


def needs(*inputs: str) -> Callable[[Score], Score]:
    """Mark a score that needs ``"start"`` weights, the summed ``"gradient"``, or both."""

    def mark(score: Score) -> Score:
        score.needs = inputs  # type: ignore[attr-defined]
        return score

    return mark


def needed_by(score: Score) -> tuple[str, ...]:
    """Return the inputs that a score needs: ``"start"``, ``"gradient"``, both or none."""
    return getattr(score, "needs", ())
