"""Matching and winning subnetworks (Chen et al. 2020, section 3): pure functions of scores.

A cell matches if its mean over seeds is at most one standard deviation worse than the mean of the
full model over its seeds. It wins if it also starts from the pre-trained weights as they are.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.statistics.significance import Comparison

#: tolerance of comparisons of means, which sums of decimal scores may miss by rounding
ROUNDING = 1e-9


@dataclass(frozen=True)
class Verdict:
    """The comparison of a cell with the full model.

    Attributes:
        values, full: scores of the cell and of the full model, one for each seed.
        lower_is_better: whether lower scores are better.
        keeps_start: whether all trainings start from the pre-trained weights as they are.
    """

    values: Sequence[float]
    full: Sequence[float]
    lower_is_better: bool = False
    keeps_start: bool = False

    @property
    def difference(self) -> Optional[float]:
        """Mean of the cell minus that of the full model."""
        if not self.values or not self.full:
            return None
        return statistics.fmean(self.values) - statistics.fmean(self.full)

    @property
    def gain(self) -> Optional[float]:
        """The difference, negated if lower scores are better."""
        gap = self.difference
        return -gap if gap is not None and self.lower_is_better else gap

    @property
    def matches(self) -> Optional[bool]:
        """Whether the cell matches; None without scores or a deviation of the full model."""
        gain = self.gain
        if gain is None or len(self.full) < 2:
            return None
        return gain >= -statistics.stdev(self.full) - ROUNDING

    @property
    def wins(self) -> bool:
        """Whether the cell matches from the pre-trained weights as they are."""
        return self.keeps_start and self.matches is True


def verdict(group: Group, key: Evaluation, technique: str, sparsity: float) -> Verdict:
    """Return the comparison of one cell of a group with its full model."""
    cells = {(technique, sparsity, seed) for seed in group.seeds} & group.tables[key].keys()
    return Verdict(
        values=group.values(key, technique, sparsity),
        full=group.values(key, DENSE, 0.0),
        lower_is_better=key.lower_is_better,
        keeps_start=bool(cells) and group.keeps_start.issuperset(cells),
    )


def all_match(verdicts: Iterable[Verdict]) -> Optional[bool]:
    """Return whether a mask is universal: whether it matches on every data set.

    None if no data set is known on which it does not match, and at least one is unknown.
    """
    known = [each.matches for each in verdicts]
    if False in known:
        return False
    return None if None in known or not known else True


def contradictions(
    group: Group, key: Evaluation, comparisons: Iterable[Comparison]
) -> tuple[list[Comparison], list[Comparison]]:
    """Return tests across seeds against the full model that contradict the verdict of their cell.

    First those that find a drop although the cell matches, then those that find none although it
    does not match.
    """
    matching, failing = [], []
    for each in comparisons:
        if each.is_within_seed or DENSE not in (each.a, each.b) or each.p is None:
            continue
        technique = each.b if each.a == DENSE else each.a
        matches = verdict(group, key, technique, each.sparsity).matches
        gap = each.difference if each.a == technique else -each.difference
        drops = each.is_different and (gap > 0 if key.lower_is_better else gap < 0)
        if matches and drops:
            matching.append(each)
        elif matches is False and not drops:
            failing.append(each)
    return matching, failing
