"""Searches for the smallest model that still does: prune a little, measure, go on or stop.

How importance is estimated and how a model is measured is the caller's: both are functions that
are handed in. A search is a generator of steps, so that each can be logged and a search be left;
``steps.survivors`` is its result.

The metric is one of which more is better and which is above 0, because the bound is a share of
the full model's: BLEU, accuracy or, out of a loss per token, ``exp(-loss)``, the inverse of the
perplexity (0.9 of it is a loss that is 0.105 higher).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Callable, Optional

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategies import Strategy, lowest
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.searches.search_steps import Judge, Step
from fairseq_lottery.masks import Mask, count_to_prune, select

Estimate = Callable[[Parts], Scores]


def s_pruning(
    start: Parts,
    estimate: Estimate,
    measure: Callable[[Parts], float],
    share: float = 0.9,
    together: float = 0.1,
    alone: float = 0.05,
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
        share: of the full metric that is enough, in [0, 1].
        together, alone: the share of all heads that a step of the first, second phase closes.
        at_least: heads that each attention keeps.

    Raises:
        LotteryError: a share is out of range, or the full model's metric not above 0.
    """
    for each in (together, alone):
        if not 0 < each <= 1:
            raise LotteryError(f"a step of {each:g} of all heads is outside (0, 1]")
    total = start.count("heads")
    phases = {
        "heads+blocks": {"heads": max(1, count_to_prune(together, total)), "blocks": 1},
        "heads": {"heads": max(1, count_to_prune(alone, total))},
        "blocks": {"blocks": 1},
    }
    judge = Judge(measure, share)
    last = judge.full(start)
    yield last
    scores: Optional[Scores] = None
    for phase, counts in phases.items():
        while _available(last.choice, counts, at_least):
            scores = scores or estimate(last.choice)
            step = judge.step(phase, _without(last.choice, counts, scores, at_least))
            yield step
            if not step.enough:
                break
            last, scores = step, None


def _inputs(parts: Parts, kind: str, at_least: int) -> StrategyInput:
    return StrategyInput(parts, kind, at_least=at_least if kind == "heads" else 0)


def _available(parts: Parts, counts: Mapping[str, int], at_least: int) -> bool:
    return all(any(_inputs(parts, kind, at_least).closable.values()) for kind in counts)


def _without(parts: Parts, counts: Mapping[str, int], scores: Scores, at_least: int) -> Parts:
    """Close so many more of each kind, or those that there are."""
    for kind, count in counts.items():
        given = _inputs(parts, kind, at_least)
        count = given.closed + min(count, sum(given.closable.values()))
        parts = lowest(replace(given, count=count, scores=scores))
    return parts


def stepwise(
    given: StrategyInput,
    fractions: Sequence[float],
    measure: Callable[[Parts], float],
    estimate: Optional[Estimate] = None,
    share: float = 0.0,
    strategy: Strategy = lowest,
) -> Iterator[Step[Parts]]:
    """Close one fraction after the other (Michel et al. 2019, section 4), until it is too much.

    Args:
        given: what is ruled over; its fraction and count are not looked at.
        fractions: rising, see ``grid``; the last is the target.
        estimate: scores anew before each step; without it those of ``given`` are for all, which
            is one-shot pruning.
        share: of the full metric that is enough, in [0, 1]; the first step below it is the last
            of the search. With 0 everything is enough.
        strategy: one of ``STRATEGIES`` that takes a fraction.

    Raises:
        LotteryError: fractions that do not rise within [0, 1], or as ``strategy`` and ``share``.
    """
    if not fractions or any(b <= a for a, b in zip(fractions, fractions[1:])):
        raise LotteryError(f"the fractions to close must rise, and {list(fractions)} do not")
    for fraction in fractions:  # before the first of them costs time
        replace(given, fraction=fraction, count=None)
    judge = Judge(measure, share)
    last = judge.full(given.start)
    yield last
    for fraction in fractions:
        now = replace(given, start=last.choice, fraction=fraction, count=None)
        if estimate is not None:
            now = replace(now, scores=estimate(last.choice))
        last = judge.step(given.kind, strategy(now))
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
    most: int = 10,
) -> Iterator[Step[Mask]]:
    """Prasanna et al.'s m-pruning: the smallest weights of all go, with no training in between.

    Args:
        start: the prunable matrices; theirs are all but the embeddings, with biases.
        weights: trained, of the matrices at least.
        share: of the full metric that is enough; the first step below it is the last.
        step: the share of what remains that each step prunes, in (0, 1).
        most: steps.
    """
    if not 0 < step < 1:
        raise LotteryError(f"a step of {step:g} of the weights is outside (0, 1)")
    missing = [name for name in start if name not in weights]
    if missing:
        raise LotteryError(f"there are no weights for {missing[0]}")
    judge = Judge(measure, share)
    last = judge.full(start)
    yield last
    magnitudes = {name: weights[name].abs() for name in start}
    for _ in range(most):
        mask = last.choice
        count = count_to_prune(step, mask.prunable - mask.pruned)
        sparsity = (mask.pruned + count) / mask.prunable
        if not count or sparsity == 1:
            return
        last = judge.step("weights", select(magnitudes, mask, sparsity, "global"))
        yield last
        if not last.enough:
            return
