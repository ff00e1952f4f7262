"""What the tests found, as text: the techniques in order, with what stands between neighbours."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.report.reading.groups import Evaluation, Group
from fairseq_lottery.report.reading.records import DENSE
from fairseq_lottery.report.statistics.bootstrap import RESAMPLES
from fairseq_lottery.report.statistics.significance import (
    BOOTSTRAP,
    FEWEST_SEEDS,
    LEVEL,
    Comparison,
)
from fairseq_lottery.report.tables.score_tables import LOWER_IS_BETTER, Table, row_label


def order_table(
    group: Group, key: Evaluation, comparisons: Sequence[Comparison], slug: str
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
        order = _order(group, key, sparsity, seed, family)
        rows.append(
            [row_label(group, sparsity), *([str(seed)] if bootstrap else []), order]
            + [f"{found} of {len(family)}"]
        )
    if bootstrap:
        how = f"sacreBLEU's paired bootstrap over the sentences ({RESAMPLES:,} resamples)"
        limits = "It speaks of these trained models; whether other seeds agree it does not ask."
    else:
        how = f"a paired t-test over the seeds (at least {FEWEST_SEEDS})"
        limits = "The test takes the differences between seeds as normally distributed."
    return Table(
        slug=group.file(slug),
        caption=f"Order of the techniques by {key.metric} ({key.subset}, {key.evaluation}), tested"
        f" by {how}.",
        header=[group.words.axis, *(["seed"] if bootstrap else []), f"order, {end} first", "pairs"],
        rows=rows,
        notes=[
            "Between neighbours, > says that the test finds a difference, ~ that it finds none:"
            f" p < {LEVEL:g}, adjusted (Benjamini and Hochberg) for all pairs of the row. Pairs:"
            " how many of all pairs differ; significance.csv has each of them.",
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
) -> str:
    """``SLT > CLT ~ dense``: by score; neighbours without a test have a question mark."""
    table = group.tables[key]
    means = {}
    for name in sorted({name for each in family for name in (each.a, each.b)}):
        at = 0.0 if name == DENSE else sparsity
        seeds = group.seeds if seed is None else (seed,)
        scores = [table[name, at, one].score for one in seeds if (name, at, one) in table]
        means[name] = statistics.fmean(scores)
    ranked = sorted(means, key=lambda name: means[name], reverse=key.metric not in LOWER_IS_BETTER)
    tests = {frozenset((each.a, each.b)): each for each in family}
    line = group.title_of(ranked[0])
    for one, other in zip(ranked, ranked[1:]):
        test = tests.get(frozenset((one, other)))
        sign = "?" if test is None or test.p is None else ">" if test.found else "~"
        line += f" {sign} {group.title_of(other)}"
    return line


def comparisons_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """Every pair that was tested, one a row, with the title of its configuration."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "configuration test subset evaluation metric sparsity seed a b difference p adjusted_p"
        " different".split()
    )
    for title, each in comparisons:
        key = each.evaluation
        writer.writerow(
            [title, each.test, key.subset, key.evaluation, key.metric, each.sparsity, each.seed]
            + [each.a, each.b, round(each.difference, 6), each.p, each.adjusted, each.found]
        )
    return out.getvalue()
