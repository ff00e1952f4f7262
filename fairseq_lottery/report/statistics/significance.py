"""Tests whether two techniques differ, across seeds: a paired t-test over at least three seeds.

p-values are adjusted for all pairs that are tested together (Benjamini and Hochberg 1995). The
module ``bootstrap`` has the test within a seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation, cell_of

LEVEL = 0.05
FEWEST_SEEDS = 3

BOOTSTRAP, SEEDS = "paired bootstrap", "paired t-test over seeds"


@dataclass(frozen=True)
class Comparison:
    """A test of technique ``a`` against ``b`` at one sparsity, or against the dense model.

    Attributes:
        difference: score of a minus score of b, or its mean over seeds.
        p: p-value; None if the test has no result.
        low, high: interval of the difference with confidence 1 - ``LEVEL``, or None.
        adjusted: p-value adjusted for all pairs of this sparsity (and seed).
    """

    test: str
    evaluation: Evaluation
    sparsity: float
    seed: Optional[int]
    a: str
    b: str
    difference: float
    p: Optional[float]
    low: Optional[float] = None
    high: Optional[float] = None
    adjusted: Optional[float] = None

    @property
    def is_within_seed(self) -> bool:
        """Whether it is the bootstrap within a seed, else the t-test across seeds."""
        return self.test == BOOTSTRAP

    @property
    def is_different(self) -> bool:
        """Whether the test finds a difference."""
        return self.adjusted is not None and self.adjusted < LEVEL


def across_seeds(group: Group, key: Evaluation) -> list[Comparison]:
    """Return paired t-tests of all pairs of techniques that have at least three common seeds."""
    table, comparisons = group.tables[key], []
    for sparsity in group.sparsities:
        family = []
        for a, b in combinations([DENSE, *group.techniques], 2):
            cells = [[cell_of(name, sparsity, seed) for name in (a, b)] for seed in group.seeds]
            pairs = [(table[x].score, table[y].score) for x, y in cells if {x, y} <= table.keys()]
            if len(pairs) >= FEWEST_SEEDS:
                mean = statistics.fmean(x - y for x, y in pairs)
                family.append(Comparison(SEEDS, key, sparsity, None, a, b, mean, *_t_test(pairs)))
        comparisons += adjusted(family)
    return comparisons


def _t_test(
    pairs: Sequence[tuple[float, float]],
) -> tuple[Optional[float], Optional[float], Optional[float]]:
    """Return the two-sided p-value and the interval of the mean difference.

    Without variance between seeds, the values are None, except that p is 1 if the difference is 0.
    """
    from scipy.stats import ttest_rel

    gaps = [x - y for x, y in pairs]
    if max(gaps) - min(gaps) < 1e-9:
        return (None if any(gaps) else 1.0), None, None
    test = ttest_rel(*zip(*pairs))
    low, high = test.confidence_interval(1 - LEVEL)
    return float(test.pvalue), float(low), float(high)


def adjusted(family: Sequence[Comparison]) -> list[Comparison]:
    """Return comparisons with p-values that are adjusted for all of them."""
    from scipy.stats import false_discovery_control

    p_values = [each.p for each in family if each.p is not None]
    values = iter(false_discovery_control(p_values) if p_values else ())
    return [
        replace(each, adjusted=float(next(values))) if each.p is not None else each
        for each in family
    ]
