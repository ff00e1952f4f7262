"""Whether two techniques differ: a difference is called one only where a test finds it.

Here: what a test says, and the test across seeds, from three on: a paired t-test, the pairs
being the seeds. p-values are adjusted for the number of pairs that are asked at once (Benjamini
and Hochberg 1995). ``bootstrap`` has the test within a seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Optional

from fairseq_lottery.report.reading.groups import Cell, Evaluation, Group
from fairseq_lottery.report.reading.records import DENSE

LEVEL = 0.05
FEWEST_SEEDS = 3

BOOTSTRAP, SEEDS = "paired bootstrap", "paired t-test over seeds"


@dataclass(frozen=True)
class Comparison:
    """A test of technique ``a`` against ``b`` at one sparsity (the dense model has none).

    ``difference`` is a minus b, over seeds the mean of it. ``p`` is None where the test has no
    answer; ``adjusted`` is p for all pairs of this sparsity (and seed) at once.
    """

    test: str
    evaluation: Evaluation
    sparsity: float
    seed: Optional[int]
    a: str
    b: str
    difference: float
    p: Optional[float]
    adjusted: Optional[float] = None

    @property
    def found(self) -> bool:
        """Whether the test finds a difference."""
        return self.adjusted is not None and self.adjusted < LEVEL


def across_seeds(group: Group, key: Evaluation) -> list[Comparison]:
    """A paired t-test of every two techniques over the seeds that both have, from three on."""
    found = []
    for sparsity in group.sparsities:
        family = []
        for a, b in combinations([DENSE, *group.techniques], 2):
            pairs = _pairs(group, key, a, b, sparsity)
            if len(pairs) < FEWEST_SEEDS:
                continue
            gaps = [x - y for x, y in pairs]
            p = _t_test(pairs) if any(gaps) else 1.0
            mean = statistics.fmean(gaps)
            family.append(Comparison(SEEDS, key, sparsity, None, a, b, mean, p))
        found += adjusted(family)
    return found


def _pairs(
    group: Group, key: Evaluation, a: str, b: str, sparsity: float
) -> list[tuple[float, float]]:
    table = group.tables[key]
    cells = [[cell_of(name, sparsity, seed) for name in (a, b)] for seed in group.seeds]
    return [(table[x].score, table[y].score) for x, y in cells if x in table and y in table]


def _t_test(pairs: Sequence[tuple[float, float]]) -> Optional[float]:
    """Two-sided; None where all seeds have the same difference, which leaves no spread to test."""
    from scipy.stats import ttest_rel

    gaps = [x - y for x, y in pairs]
    if max(gaps) - min(gaps) < 1e-9:
        return None
    first, second = zip(*pairs)
    return float(ttest_rel(first, second).pvalue)


def cell_of(technique: str, sparsity: float, seed: int) -> Cell:
    """What a technique is compared by at a sparsity; the dense model is its own everywhere."""
    return technique, (0.0 if technique == DENSE else sparsity), seed


def adjusted(family: Sequence[Comparison]) -> list[Comparison]:
    """Adjust the p-values of pairs that are asked at once."""
    from scipy.stats import false_discovery_control

    asked = [each.p for each in family if each.p is not None]
    values = iter(false_discovery_control(asked) if asked else ())
    return [
        replace(each, adjusted=float(next(values))) if each.p is not None else each
        for each in family
    ]
