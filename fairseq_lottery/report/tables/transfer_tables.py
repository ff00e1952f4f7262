"""Tables of masks that are trained on several data sets: the transfer matrix, universal masks."""

from __future__ import annotations

import statistics
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.families import Family, View
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.statistics.matching import Verdict, all_match
from fairseq_lottery.report.statistics.transfer import rows_of, transfer_matrices
from fairseq_lottery.report.tables.matching_tables import VERDICT_COLUMNS, numbers
from fairseq_lottery.report.tables.score_tables import cell_text
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: header of the column that compares masks with those of the targets
AS_GOOD = "as good as own"


def transfer_table(family: Family, view: View) -> Optional[Table]:
    """Return the transfer matrices of all sparsities; None without transferred masks."""
    most = most_seeds(family, view)
    full = {name: family.groups[name].values(key, DENSE, 0.0) for name, key in view.keys.items()}
    rows = [
        ["0", "all weights"]
        + [cell_text(own, most, _digits(family, view, name)) for name, own in full.items()]
        + [MISSING]
    ]
    data = []
    for sparsity, matrix in transfer_matrices(family, view).items():
        for row in matrix:
            texts = [
                _cell(each, most, _digits(family, view, name)) for name, each in row.targets.items()
            ]
            count = f"{row.as_good} of {row.compared}" if row.compared else MISSING
            rows.append([percent(sparsity), row.masks.title, *texts, count])
            for name, each in row.targets.items():
                metric = view.keys[name].metric
                place = [sparsity, row.masks.technique, row.masks.source, name, metric]
                data.append([*place, *numbers(each), row.as_good, row.compared])
    if not data:
        return None
    head = ["sparsity", "technique", "source", "target", "metric", *VERDICT_COLUMNS]
    return Table(
        slug=family.file(f"transfer-{view.slug}"),
        caption=f"Masks of one data set trained on another ({view.title}): a row per origin of the"
        f" mask, a column per data set on which it is trained; {seeds_text(most)}.",
        header=["sparsity, %", "mask of", *(_target(view, name) for name in view.keys), AS_GOOD],
        rows=rows,
        notes=[
            "In brackets: the difference to the full model (0 %) of the data set. * marks a match:"
            " at most one standard deviation of the full model worse than its mean."
            + ("" if any(len(own) > 1 for own in full.values()) else " One seed has none."),
            "As good as own: on how many of the other data sets the mask does at least as well as"
            " their own mask, by means.",
            *units(family, view),
        ],
        data=([*head, "as good", "compared"], data),
    )


def universal_table(family: Family, view: View) -> Optional[Table]:
    """Return the number of data sets that each mask matches; None without transferred masks."""
    matrices = transfer_matrices(family, view)
    if not matrices:
        return None
    counts: dict[str, dict[float, str]] = {}
    for share, matrix in matrices.items():
        for row in matrix:
            counts.setdefault(row.masks.title, {})[share] = _count(list(row.targets.values()))
    titles = [masks.title for masks in rows_of(family)]
    return Table(
        slug=family.file(f"universal-{view.slug}"),
        caption=f"Data sets on which a mask matches the full model ({view.title}).",
        header=["mask of", *(f"{percent(share)} %" for share in matrices)],
        rows=[
            [title, *(counts.get(title, {}).get(share, MISSING) for share in matrices)]
            for title in titles
        ],
        notes=[
            "A mask is universal if it matches on every data set: its mean over seeds is at most"
            " one standard deviation of the full model worse than the full model's mean.",
            "A question mark counts data sets without a score, or without a deviation because the"
            " full model has one seed.",
        ],
    )


def universal_text(family: Family, view: View) -> str:
    """Return which masks are universal at which sparsities, as a sentence; empty without masks."""
    matrices, is_known, found = transfer_matrices(family, view), False, []
    for share, matrix in matrices.items():
        verdicts = {row.masks.title: all_match(row.targets.values()) for row in matrix}
        is_known = is_known or any(each is not None for each in verdicts.values())
        universal = [title for title, matches in verdicts.items() if matches]
        found += [f"{percent(share)} %: {', '.join(universal)}"] if universal else []
    if not matrices:
        return ""
    if not is_known:
        return "Whether a mask is universal is unknown: scores are missing, or there is one seed."
    at = ", ".join(map(percent, matrices))
    return (
        f"Masks that match the full model on all {len(view.keys)} data sets (universal), tried at"
        f" {at} %: {'; '.join(found) or 'none'}."
    )


def _count(verdicts: list[Verdict]) -> str:
    """Return how many verdicts are a match, such as ``3 of 5`` or ``3 of 5, 1 ?``."""
    known = [each.matches for each in verdicts]
    text = f"{known.count(True)} of {len(known)}"
    if all_match(verdicts):
        return f"universal ({text})"
    return f"{text}, {known.count(None)} ?" if None in known else text


def _cell(each: Verdict, most: int, digits: int) -> str:
    if not each.values:
        return MISSING
    text = f"{statistics.fmean(each.values):.{digits}f}"
    if each.difference is not None:
        text += f" ({difference_text(each.difference, digits)})"
    text += "*" if each.matches else ""
    return text if len(each.values) == most else f"{text} (n={len(each.values)})"


def difference_text(difference: float, digits: int) -> str:
    """Return a difference with its sign; without one if it rounds to 0."""
    rounded = round(difference, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"


def most_seeds(family: Family, view: View) -> int:
    """Return the maximum number of seeds of a cell."""
    return max(family.groups[name].most_seeds(key) for name, key in view.keys.items())


def seeds_text(most: int) -> str:
    """Describe means over at most so many seeds."""
    return f"means over {most} seeds" if most > 1 else "one seed"


def _digits(family: Family, view: View, name: str) -> int:
    return family.groups[name].decimals(view.keys[name])


def _target(view: View, name: str) -> str:
    metrics = {key.metric for key in view.keys.values()}
    return name if len(metrics) == 1 else f"{name}, {view.keys[name].metric}"


def units(family: Family, view: View) -> list[str]:
    """Return sentences on the units of the metrics, and on those of which less is better."""
    percents: dict[str, bool] = {}
    for name, key in view.keys.items():
        percents.setdefault(key.metric, _digits(family, view, name) == 1)
    by_unit = {
        unit: [metric for metric, of in percents.items() if of == is_percent]
        for unit, is_percent in (("percent", True), ("nats", False))
    }
    texts = [f"{', '.join(metrics)} in {unit}" for unit, metrics in by_unit.items() if metrics]
    less = dict.fromkeys(key.metric for key in view.keys.values() if key.lower_is_better)
    return [
        f"Units: {'; '.join(texts)}.",
        *([f"Less is better: {', '.join(less)}."] if less else []),
    ]
