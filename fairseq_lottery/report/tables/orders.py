"""Tables of test results: the techniques in order, with their differences."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation, cell_of
from fairseq_lottery.report.statistics.bootstrap import RESAMPLES
from fairseq_lottery.report.statistics.significance import FEWEST_SEEDS, LEVEL, Comparison
from fairseq_lottery.report.tables.table_formats import MISSING, Table


def order_table(
    group: Group, key: Evaluation, comparisons: Sequence[Comparison]
) -> Optional[Table]:
    """Return a table with the order at each sparsity (and seed); None without tests."""
    families: dict[tuple[float, Optional[int]], list[Comparison]] = {}
    for each in comparisons:
        families.setdefault((each.sparsity, each.seed), []).append(each)
    if not families:
        return None
    is_bootstrap = comparisons[0].is_within_seed
    end = "lowest" if key.lower_is_better else "highest"
    rows = []
    for (sparsity, seed), family in families.items():
        different = sum(each.is_different for each in family)
        rows.append(
            [group.label_of(sparsity), *([str(seed)] if is_bootstrap else [])]
            + [*_order(group, key, sparsity, seed, family), f"{different} of {len(family)}"]
        )
    if is_bootstrap:
        method = f"sacreBLEU's paired bootstrap over the sentences ({RESAMPLES:,} resamples)"
        limits = (
            "The test compares these trained models, not other seeds. Intervals are percentiles of"
            " the resampled differences; on few sentences an interval may include 0 although the"
            " test, which shifts the differences to a mean of 0, finds a difference."
        )
    else:
        method = f"a paired t-test over the seeds (at least {FEWEST_SEEDS})"
        limits = "The test assumes that the differences between seeds are normally distributed."
    return Table(
        slug=group.file(f"{key.slug}-{'bootstrap' if is_bootstrap else 'seeds'}"),
        caption=f"Order of the techniques by {key.metric} on {key.subset} ({key.words}), tested by"
        f" {method}.",
        header=[group.words.axis, *(["seed"] if is_bootstrap else []), f"order, {end} first"]
        + [f"differences of neighbours, {100 * (1 - LEVEL):g} % intervals", "pairs"],
        rows=rows,
        notes=[
            "Between neighbours, > means that the test finds a difference, ~ that it finds none:"
            f" p < {LEVEL:g}, adjusted (Benjamini and Hochberg) for all pairs of the row. Pairs:"
            " number of pairs that differ; significance.csv lists all pairs.",
            "Differences are in the order of the signs. Their intervals are not adjusted for the"
            " number of pairs.",
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
    """Return the order, such as ``SLT > CLT ~ dense``, and the differences of neighbours.

    A question mark separates neighbours without a p-value.
    """
    seeds = group.seeds if seed is None else (seed,)
    table, means = group.tables[key], {}
    for name in sorted({name for each in family for name in (each.a, each.b)}):
        cells = [cell_of(name, sparsity, number) for number in seeds]
        means[name] = statistics.fmean(table[cell].score for cell in cells if cell in table)
    ranked = sorted(means, key=lambda name: means[name], reverse=not key.lower_is_better)
    tests = {frozenset((each.a, each.b)): each for each in family}
    digits = group.decimals(key)
    line, differences = group.title_of(ranked[0]), []
    for first, second in zip(ranked, ranked[1:]):
        test = tests.get(frozenset((first, second)))
        sign = "?" if test is None or test.p is None else ">" if test.is_different else "~"
        line += f" {sign} {group.title_of(second)}"
        differences.append(MISSING if test is None else _difference(test, first, digits))
    return line, "; ".join(differences)


def _difference(test: Comparison, first: str, digits: int) -> str:
    """Return the difference of ``first`` and the other with its interval: ``1.2 [0.4, 2.0]``."""
    sign = 1 if test.a == first else -1
    ends = (
        [] if test.low is None or test.high is None else sorted([sign * test.low, sign * test.high])
    )
    difference, *interval = (
        f"{round(value, digits) + 0.0:.{digits}f}" for value in (sign * test.difference, *ends)
    )
    return f"{difference} [{', '.join(interval)}]" if interval else difference
