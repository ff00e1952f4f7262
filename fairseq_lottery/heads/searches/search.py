"""Searches for the smallest model that still does: prune a little, measure, go on or stop.

A search is a generator of steps, so that each can be logged and a search be left; ``survivors``
is its result. The metric is one of which more is better and which is above 0, because the bound is
a share of the full model's: BLEU, accuracy or, out of a loss per token, ``exp(-loss)``, the inverse
of the perplexity (0.9 of it is a loss that is 0.105 higher).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Callable, Generic, Optional, TypeVar

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategies import lowest
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.masks import Mask, count_to_prune, select

Estimate = Callable[[Parts], Scores]
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


def survivors(
    steps: Iterable[Step[Choice]], seen: Optional[Callable[[Step[Choice]], None]] = None
) -> Step[Choice]:
    """Run a search to its end, call ``seen`` with each step, and return the last that is enough."""
    found = None
    for step in steps:
        if seen is not None:
            seen(step)
        found = step if step.enough else found
    assert found is not None, "the full model is enough of itself"
    return found


def _full(
    measure: Callable[[Choice], float], share: float, choice: Choice
) -> tuple[Step[Choice], float]:
    """Measure the full model: the first step, and the least metric that is enough."""
    if not 0 <= share <= 1:
        raise LotteryError(f"a share of {share:g} of the full model's metric is outside [0, 1]")
    metric = measure(choice)
    if share and not 0 < metric < math.inf:
        raise LotteryError(
            f"the full model's metric is {metric:g}, of which a share is no bound; measure"
            " something above 0 of which more is better"
        )
    return Step("full", choice, metric, True), share * metric if share else -math.inf


def s_pruning(
    start: Parts,
    estimate: Estimate,
    measure: Callable[[Parts], float],
    share: float = 0.9,
    at_least: int = 0,
) -> Iterator[Step[Parts]]:
    """Prasanna et al.'s search over heads and FFN blocks (2020, section 3.2), in three phases.

    A step closes what has the lowest scores: first a share of all heads and one block at a time,
    then heads alone, then one block at a time alone. A phase ends with the first step that is not
    enough, which is taken back, or when there is nothing left of a kind. The shares are those of
    the public code (14 and 7 of 144 heads), halves rounded up, and a head at least. After a step
    is taken back the scores are those of before it; the public code keeps those of that step.

    Args:
        start: what the search begins with.
        estimate: importance where some parts are closed; asked anew after each step.
        share: of the full metric that is enough, in [0, 1]; with 0 everything is.
        at_least: heads that each attention keeps.

    Raises:
        LotteryError: the share is out of range, or the full model's metric not above 0.
    """
    both, alone = (max(1, count_to_prune(each, start.count("heads"))) for each in (0.1, 0.05))
    phases = {
        "heads+blocks": {"heads": both, "blocks": 1},
        "heads": {"heads": alone},
        "blocks": {"blocks": 1},
    }
    last, bound = _full(measure, share, start)
    yield last
    scores: Optional[Scores] = None
    for phase, counts in phases.items():
        while all(any(_inputs(last.choice, one, at_least).closable.values()) for one in counts):
            scores = scores or estimate(last.choice)
            parts = last.choice
            for kind, count in counts.items():
                given = _inputs(parts, kind, at_least)
                count = given.closed + min(count, sum(given.closable.values()))
                parts = lowest(replace(given, count=count, scores=scores))
            metric = measure(parts)
            step = Step(phase, parts, metric, metric >= bound)
            yield step
            if not step.enough:
                break
            last, scores = step, None


def _inputs(parts: Parts, kind: str, at_least: int) -> StrategyInput:
    return StrategyInput(parts, kind, at_least=at_least if kind == "heads" else 0)


def stepwise(
    given: StrategyInput,
    fractions: Sequence[float],
    measure: Callable[[Parts], float],
    estimate: Optional[Estimate] = None,
    share: float = 0.0,
) -> Iterator[Step[Parts]]:
    """Close the lowest scores, one fraction after the other (Michel et al. 2019, section 4).

    Args:
        given: what is ruled over; its fraction and count are not looked at.
        fractions: rising, see ``grid``; the last is the target.
        estimate: scores anew before each step; without it those of ``given`` are for all, which
            is one-shot pruning.
        share: as in ``s_pruning``; the first step below it is the last of the search.

    Raises:
        LotteryError: fractions that do not rise within [0, 1], or as ``s_pruning``.
    """
    if not fractions or any(b <= a for a, b in zip(fractions, fractions[1:])):
        raise LotteryError(f"the fractions to close must rise, and {list(fractions)} do not")
    for fraction in fractions:  # before the first of them costs time
        replace(given, fraction=fraction, count=None)
    last, bound = _full(measure, share, given.start)
    yield last
    for fraction in fractions:
        scores = given.scores if estimate is None else estimate(last.choice)
        parts = lowest(
            replace(given, start=last.choice, fraction=fraction, count=None, scores=scores)
        )
        metric = measure(parts)
        last = Step(given.kind, parts, metric, metric >= bound)
        yield last
        if not last.enough:
            return


def grid(step: float, last: float) -> list[float]:
    """``step``, twice it and so on up to ``last``, which ends it: 0.1 to 0.9 without 0.30000004."""
    if not 0 < step <= last <= 1:
        raise LotteryError(f"steps of {step:g} up to {last:g} do not lie in (0, 1]")
    by, end = Fraction(repr(float(step))), Fraction(repr(float(last)))
    return [float(by * n) for n in range(1, math.ceil(end / by))] + [float(last)]


def m_pruning(
    start: Mask,
    weights: Mapping[str, Tensor],
    measure: Callable[[Mask], float],
    share: float = 0.9,
    step: float = 0.1,
) -> Iterator[Step[Mask]]:
    """Prasanna et al.'s m-pruning: the smallest weights of all go, with no training in between.

    Args:
        start: the prunable matrices; theirs are all but the embeddings, with biases.
        weights: trained, of the matrices at least.
        share: as in ``stepwise``.
        step: the share of what remains that each step prunes, in (0, 1).
    """
    if not 0 < step < 1:
        raise LotteryError(f"a step of {step:g} of the weights is outside (0, 1)")
    last, bound = _full(measure, share, start)
    yield last
    magnitudes = {name: weights[name].abs() for name in start}
    while last.enough:
        mask = last.choice
        count = count_to_prune(step, mask.prunable - mask.pruned)
        sparsity = (mask.pruned + count) / mask.prunable
        if not count or sparsity == 1:
            return
        smaller = select(magnitudes, mask, sparsity, "global")
        metric = measure(smaller)
        last = Step("weights", smaller, metric, metric >= bound)
        yield last
