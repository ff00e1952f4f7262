"""What the tests found, as text: the techniques in order, with their differences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.statistics.bootstrap import RESAMPLES
from fairseq_lottery.report.statistics.significance import (
    BOOTSTRAP,
    FEWEST_SEEDS,
    LEVEL,
    Comparison,
)
from fairseq_lottery.report.tables.score_tables import LOWER_IS_BETTER, decimals
from fairseq_lottery.report.tables.table_formats import MISSING, Table


def order_table(
    group: Group, key: Evaluation, comparisons: Sequence[Comparison]
) -> Optional[Table]:
    """One row a sparsity (and seed) with the order found; None where nothing was tested."""
    families: dict[tuple[float, Optional[int]], list[Comparison]] = {}
    for each in comparisons:
        families.setdefault((each.sparsity, each.seed), []).append(each)
    if not families:
        return None
    bootstrap = comparisons[0].test == BOOTSTRAP
    end = "lowest" if key.metric in LOWER_IS_BETTER else "highest"
    rows = []
    for (sparsity, seed), family in families.items():
        found = sum(each.found for each in family)
        rows.append(
            [group.label_of(sparsity), *([str(seed)] if bootstrap else [])]
            + [*_order(group, key, sparsity, seed, family), f"{found} of {len(family)}"]
        )
    if bootstrap:
        how = f"sacreBLEU's paired bootstrap over the sentences ({RESAMPLES:,} resamples)"
        limits = (
            "It speaks of these trained models; whether other seeds agree it does not ask."
            " Intervals are percentiles of the resampled differences; on few sentences one may"
            " include 0 where the test, which shifts them to a mean of 0, finds a difference."
        )
    else:
        how = f"a paired t-test over the seeds (at least {FEWEST_SEEDS})"
        limits = "The test takes the differences between seeds as normally distributed."
    return Table(
        slug=group.file(f"{key.slug}-{'bootstrap' if bootstrap else 'seeds'}"),
        caption=f"Order of the techniques by {key.metric} on {key.subset} ({key.words}), tested by"
        f" {how}.",
        header=[group.words.axis, *(["seed"] if bootstrap else []), f"order, {end} first"]
        + [f"differences of neighbours, {100 * (1 - LEVEL):g} % intervals", "pairs"],
        rows=rows,
        notes=[
            "Between neighbours, > says that the test finds a difference, ~ that it finds none:"
            f" p < {LEVEL:g}, adjusted (Benjamini and Hochberg) for all pairs of the row. Pairs:"
            " how many of all pairs differ; significance.csv has each of them.",
            "Differences stand in the order of the signs. Their intervals are of each pair alone,"
            " not adjusted for the number of pairs.",
            limits,
        ],
        prose=True,
    )


def _order(
    group: Group,
    key: Evaluation,
    sparsity: float,
    seed: Optional[int],
    family: Sequence[Comparison],
) -> tuple[str, str]:
    """``SLT > CLT ~ dense``: by score, and the differences of neighbours.

    Neighbours without a test have a question mark.
    """
    seeds = group.seeds if seed is None else (seed,)
    table, means = group.tables[key], {}
    for name in sorted({name for each in family for name in (each.a, each.b)}):
        cells = [(name, 0.0 if name == DENSE else sparsity, one) for one in seeds]
        means[name] = statistics.fmean(table[cell].score for cell in cells if cell in table)
    ranked = sorted(means, key=lambda name: means[name], reverse=key.metric not in LOWER_IS_BETTER)
    tests = {frozenset((each.a, each.b)): each for each in family}
    digits = decimals(table.values())
    line, differences = group.title_of(ranked[0]), []
    for one, other in zip(ranked, ranked[1:]):
        test = tests.get(frozenset((one, other)))
        sign = "?" if test is None or test.p is None else ">" if test.found else "~"
        line += f" {sign} {group.title_of(other)}"
        differences.append(MISSING if test is None else _difference(test, one, digits))
    return line, "; ".join(differences)


def _difference(test: Comparison, first: str, digits: int) -> str:
    """``1.2 [0.4, 2.0]``, of ``first`` minus the other."""
    sign = 1 if test.a == first else -1
    ends = (
        [] if test.low is None or test.high is None else sorted([sign * test.low, sign * test.high])
    )
    difference, *interval = (
        f"{round(value, digits) + 0.0:.{digits}f}" for value in (sign * test.difference, *ends)
    )
    return f"{difference} [{', '.join(interval)}]" if interval else difference
