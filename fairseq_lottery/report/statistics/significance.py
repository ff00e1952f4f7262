"""Whether two techniques differ: a difference is called one only where a test finds it.

Here: what a test says, and the test across seeds, from three on: a paired t-test, the pairs
being the seeds. p-values are adjusted for the number of pairs that are asked at once (Benjamini
and Hochberg 1995). ``bootstrap`` has the test within a seed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, Evaluation

LEVEL = 0.05
FEWEST_SEEDS = 3

BOOTSTRAP, SEEDS = "paired bootstrap", "paired t-test over seeds"


@dataclass(frozen=True)
class Comparison:
    """A test of technique ``a`` against ``b`` at one sparsity (the dense model has none).

    ``difference`` is a minus b, over seeds the mean of it, ``low`` to ``high`` its interval of
    1 - ``LEVEL``. ``p`` and the interval are None where the test has no answer; ``adjusted`` is
    p for all pairs of this sparsity (and seed) at once.
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
    def found(self) -> bool:
        """Whether the test finds a difference."""
        return self.adjusted is not None and self.adjusted < LEVEL


def across_seeds(group: Group, key: Evaluation) -> list[Comparison]:
    """A paired t-test of every two techniques over the seeds that both have, from three on."""
    table, found = group.tables[key], []
    for sparsity in group.sparsities:
        family = []
        for a, b in combinations([DENSE, *group.techniques], 2):
            cells = [[cell_of(name, sparsity, seed) for name in (a, b)] for seed in group.seeds]
            pairs = [(table[x].score, table[y].score) for x, y in cells if {x, y} <= table.keys()]
            if len(pairs) >= FEWEST_SEEDS:
                mean = statistics.fmean(x - y for x, y in pairs)
                family.append(Comparison(SEEDS, key, sparsity, None, a, b, mean, *_t_test(pairs)))
        found += adjusted(family)
    return found


def _t_test(
    pairs: Sequence[tuple[float, float]],
) -> tuple[Optional[float], Optional[float], Optional[float]]:
    """Two-sided p and the interval of the mean difference.

    None where all seeds have the same difference, which leaves no spread to test; p is 1 where
    that difference is 0.
    """
    from scipy.stats import t, ttest_rel

    gaps = [x - y for x, y in pairs]
    if max(gaps) - min(gaps) < 1e-9:
        return (None if any(gaps) else 1.0), None, None
    first, second = zip(*pairs)
    mean, error = statistics.fmean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    margin = float(t.ppf(1 - LEVEL / 2, len(gaps) - 1)) * error
    return float(ttest_rel(first, second).pvalue), mean - margin, mean + margin


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
