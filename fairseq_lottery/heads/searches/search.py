"""Searches for the smallest model with enough of the metric: prune, measure, continue or stop.

A search is a generator of steps, so that a caller can log each step and stop after any step;
``survivors`` returns the result. A higher metric must be better, and the metric must be above 0,
because the bound is a share of the full model's metric. Examples are BLEU, accuracy, or
``exp(-loss)`` for a loss per token, which is the inverse of the perplexity. A share of 0.9 of
``exp(-loss)`` allows a loss that is 0.105 higher.
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
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.masks import Mask, count_to_prune, select

Estimate = Callable[[ComponentMask], Scores]
#: result of a search: which components are kept, or which weights
Choice = TypeVar("Choice", ComponentMask, Mask)


@dataclass(frozen=True)
class Step(Generic[Choice]):
    """A model that was evaluated.

    Attributes:
        phase: ``full`` for the first model; then what was pruned: ``heads+blocks``, ``heads``,
            ``units``, ``blocks`` or ``weights``.
        choice: what the model keeps.
        metric: metric of the model; higher is better.
        enough: whether the metric is at least the requested share of the full model's metric.
    """

    phase: str
    choice: Choice
    metric: float
    enough: bool


def survivors(
    steps: Iterable[Step[Choice]], observe: Optional[Callable[[Step[Choice]], None]] = None
) -> Step[Choice]:
    """Run a search, call ``observe`` with each step, and return the last step that is enough."""
    last = None
    for step in steps:
        if observe is not None:
            observe(step)
        last = step if step.enough else last
    assert last is not None, "the full model is enough"
    return last


def _full(
    measure: Callable[[Choice], float], share: float, choice: Choice
) -> tuple[Step[Choice], float]:
    """Measure the full model; return the first step and the lowest metric that is enough."""
    if not 0 <= share <= 1:
        raise LotteryError(f"the share {share:g} of the full model's metric is outside [0, 1]")
    metric = measure(choice)
    if share and not 0 < metric < math.inf:
        raise LotteryError(
            f"the full model's metric is {metric:g}, expected a finite number above 0; choose"
            " another metric"
        )
    return Step("full", choice, metric, True), share * metric if share else -math.inf


def s_pruning(
    start: ComponentMask,
    estimate: Estimate,
    measure: Callable[[ComponentMask], float],
    share: float = 0.9,
    at_least: int = 0,
) -> Iterator[Step[ComponentMask]]:
    """Search over heads and FFN blocks in three phases, as Prasanna et al. (2020, section 3.2).

    A step prunes the components with the lowest scores. A step of the first phase prunes 10 % of
    all heads and one block; of the second phase, 5 % of all heads; of the third phase, one block. A
    phase ends when no component of a kind can be pruned, or when the metric of a step is not
    enough; that step is undone.

    The shares are those of the public code (14 and 7 of 144 heads). They are rounded to the nearest
    number of heads, halves up, and are at least one head. After an undone step the scores from
    before the step are used; the public code uses the scores from after it.

    Args:
        start: the components that are kept at the start.
        estimate: importance of the kept components; called again after each step.
        share: share of the full model's metric that is enough, in [0, 1]; with 0 every step is
            enough.
        at_least: minimum number of heads that each attention module keeps.

    Raises:
        LotteryError: the share is out of range, or the full model's metric is not above 0.
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
        while all(any(_inputs(last.choice, one, at_least).prunable.values()) for one in counts):
            scores = scores or estimate(last.choice)
            components = last.choice
            for kind, count in counts.items():
                inputs = _inputs(components, kind, at_least)
                count = inputs.pruned + min(count, sum(inputs.prunable.values()))
                components = lowest(replace(inputs, count=count, scores=scores))
            metric = measure(components)
            step = Step(phase, components, metric, metric >= bound)
            yield step
            if not step.enough:
                break
            last, scores = step, None


def _inputs(components: ComponentMask, kind: str, at_least: int) -> StrategyInput:
    return StrategyInput(components, kind, at_least=at_least if kind == "heads" else 0)


def stepwise(
    inputs: StrategyInput,
    fractions: Sequence[float],
    measure: Callable[[ComponentMask], float],
    estimate: Optional[Estimate] = None,
    share: float = 0.0,
) -> Iterator[Step[ComponentMask]]:
    """Prune the lowest scores, one fraction after the other (Michel et al. 2019, section 4).

    Args:
        inputs: the candidates; its fraction and count are ignored.
        fractions: increasing fractions to prune, see ``grid``; the last one is the target.
        estimate: function that returns the scores before each step. Without it all steps use the
            scores of ``inputs``, which is one-shot pruning.
        share: as in ``s_pruning``; the search ends after the first step that is not enough.

    Raises:
        LotteryError: the fractions do not increase within [0, 1], or a reason of ``s_pruning``.
    """
    if not fractions or any(b <= a for a, b in zip(fractions, fractions[1:])):
        raise LotteryError(f"the fractions to prune must increase, not {list(fractions)}")
    for fraction in fractions:  # refuses invalid fractions before the first evaluation
        replace(inputs, fraction=fraction, count=None)
    last, bound = _full(measure, share, inputs.start)
    yield last
    for fraction in fractions:
        scores = inputs.scores if estimate is None else estimate(last.choice)
        components = lowest(
            replace(inputs, start=last.choice, fraction=fraction, count=None, scores=scores)
        )
        metric = measure(components)
        last = Step(inputs.kind, components, metric, metric >= bound)
        yield last
        if not last.enough:
            return


def grid(step: float, last: float) -> list[float]:
    """Return the multiples of ``step`` below ``last``, and ``last``, without rounding errors."""
    if not 0 < step <= last <= 1:
        raise LotteryError(f"steps of {step:g} up to {last:g} are outside (0, 1]")
    by, end = Fraction(repr(float(step))), Fraction(repr(float(last)))
    return [float(by * n) for n in range(1, math.ceil(end / by))] + [float(last)]


def m_pruning(
    start: Mask,
    weights: Mapping[str, Tensor],
    measure: Callable[[Mask], float],
    share: float = 0.9,
    step: float = 0.1,
) -> Iterator[Step[Mask]]:
    """Prune the smallest weights of all matrices step by step: m-pruning of Prasanna et al. (2020).

    The model is not trained between the steps.

    Args:
        start: mask of the prunable matrices at the start. The paper prunes all parameters except
            the embeddings, biases included.
        weights: trained weights of at least these matrices.
        share: as in ``stepwise``.
        step: share of the remaining weights that each step prunes, in (0, 1).
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
