"""The table of matching and winning subnetworks of a group."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import METRIC
from fairseq_lottery.report.reading.families import Family, View
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Evaluation
from fairseq_lottery.report.statistics.matching import Verdict, contradictions, verdict
from fairseq_lottery.report.statistics.significance import LEVEL, Comparison
from fairseq_lottery.report.tables.score_tables import deviation
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: columns of ``numbers`` in CSV files
VERDICT_COLUMNS = (
    "mean", "sd", "seeds", "full mean", "full sd", "full seeds", "difference",
    "matches", "wins",
)  # fmt: skip


def matching_table(group: Group, key: Evaluation, comparisons: Sequence[Comparison]) -> Table:
    """Return a table of verdicts with a row for each technique and a column for each share."""
    full, most = group.values(key, DENSE, 0.0), group.most_seeds(key)
    names = [n for n in group.techniques if any(group.values(key, n, s) for s in group.sparsities)]
    digits = group.decimals(key)
    rows, data = [], []
    for name in names:
        verdicts = {s: verdict(group, key, name, s) for s in group.sparsities}
        texts = [verdict_text(each, most) for each in verdicts.values()]
        rows.append([group.title_of(name), *texts, highest_match(group, verdicts)])
        data += [[name, share, *numbers(each)] for share, each in verdicts.items() if each.values]
    seeds = f"{len(full)} {'seed' if len(full) == 1 else 'seeds'}"
    spread = deviation(full)
    if spread is None:
        meaning = (
            f"The full model has {seeds}, so there is no deviation to compare with, and no verdict:"
            " all cells show a question mark."
        )
    else:
        meaning = (
            "A subnetwork matches (match) if its mean over seeds is at most one standard deviation"
            " worse than the full model's mean:"
            f" {statistics.fmean(full):.{digits}f} ± {spread:.{digits}f} over {seeds}. It wins"
            " (win) if it also starts from the pre-trained weights as they are (Chen et al. 2020)."
        )
    notes = [
        meaning,
        f"Means of the subnetworks are over {most} {'seed' if most == 1 else 'seeds'}, if no other"
        f" number is shown; {MISSING} marks cells without a score.",
        *(_notes_of_tests(group, key, comparisons) if spread is not None else []),
    ]
    return Table(
        slug=group.file(f"{key.slug}-matching"),
        caption=f"Which subnetworks match the full model, by {key.metric} on {key.subset}"
        f" ({key.words}).",
        header=[
            "technique",
            *(f"{group.label_of(share)} %" for share in group.sparsities),
            "lowest match, %" if group.rows == METRIC else "highest match, %",
        ],
        rows=rows,
        notes=notes,
        data=(["technique", group.words.column, *VERDICT_COLUMNS], data),
    )


def highest_table(family: Family, view: View) -> Table:
    """Return the highest share at which each technique matches, with a column per data set."""
    first, rows = family.first, []
    for technique, title in family.techniques.items():
        texts = []
        for name, key in view.keys.items():
            group = family.groups[name]
            verdicts = {s: verdict(group, key, technique, s) for s in group.sparsities}
            texts.append(highest_match(group, verdicts))
        rows.append([title, *texts])
    seeds = [len(family.groups[name].values(key, DENSE, 0.0)) for name, key in view.keys.items()]
    end = "Lowest" if first.rows == METRIC else "Highest"
    return Table(
        slug=family.file(f"matching-{view.slug}"),
        caption=f"{end} {first.words.share} at which a subnetwork matches the full model, in"
        f" percent ({view.title}).",
        header=["technique", *view.keys],
        rows=rows,
        notes=[
            "A subnetwork matches if its mean over seeds is at most one standard deviation of the"
            " full model worse than the full model's mean"
            f" ({number_text(seeds)} {'seed' if set(seeds) == {1} else 'seeds'} of the full model)."
            f" In brackets: {first.words.shares} before it that do not match. {MISSING}: no score,"
            " or no deviation because the full model has one seed. The sections of the data sets"
            " have all verdicts.",
        ],
    )


def number_text(numbers: Sequence[int]) -> str:
    """Return a number, or the range of several: ``3`` or ``1 to 3``."""
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def verdict_text(each: Verdict, most: int) -> str:
    """Return a verdict as a word, with the number of seeds if it is less than ``most``."""
    if not each.values:
        return MISSING
    words = {None: "?", True: "win" if each.wins else "match", False: "no"}
    count = len(each.values)
    return words[each.matches] + (f" (n={count})" if count != most else "")


def numbers(each: Verdict) -> list[Any]:
    """Return the numbers behind a verdict, in the order of the columns of CSV files."""
    cells: list[Any] = []
    for values in (each.values, each.full):
        cells += [statistics.fmean(values) if values else None, deviation(values), len(values)]
    return [*cells, each.difference, each.matches, each.wins if each.matches is not None else None]


def highest_match(group: Group, verdicts: Mapping[float, Verdict]) -> str:
    """Return the last share that matches, and those before it that do not."""
    known = {share: each.matches for share, each in verdicts.items() if each.matches is not None}
    matching = [share for share, matches in known.items() if matches]
    if not matching:
        return "none" if known else MISSING
    before = list(known)[: list(known).index(matching[-1])]
    failing = [group.label_of(share) for share in before if not known[share]]
    text = group.label_of(matching[-1])
    return f"{text} (not {', '.join(failing)})" if failing else text


def _notes_of_tests(group: Group, key: Evaluation, comparisons: Sequence[Comparison]) -> list[str]:
    """Return where the test across seeds contradicts the verdicts."""
    drops, none = contradictions(group, key, comparisons)
    texts = (
        (drops, "finds a drop, although the cell matches"),
        (none, "finds no drop, although the cell does not match"),
    )
    return [
        f"The paired t-test over the seeds (adjusted p < {LEVEL:g}) {text}:"
        f" {_places(group, tests)}."
        for tests, text in texts
        if tests
    ]


def _places(group: Group, tests: Sequence[Comparison]) -> str:
    shares: dict[str, list[str]] = {}
    for each in tests:
        technique = each.b if each.a == DENSE else each.a
        shares.setdefault(group.title_of(technique), []).append(group.label_of(each.sparsity))
    return "; ".join(f"{title} at {', '.join(labels)} %" for title, labels in shares.items())
