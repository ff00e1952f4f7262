"""Tables of published figures of several data sets; they are never mixed with measured ones."""

from __future__ import annotations

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.families import Family
from fairseq_lottery.report.reading.published import Published
from fairseq_lottery.report.reading.table_words import WORDS, percent
from fairseq_lottery.report.tables.table_formats import MISSING, Table


def published_table(family: Family, published: Published) -> Table:
    """Return all published figures, with a row for each data set and share."""
    figures = [
        (data, metric, technique, share, value)
        for data, own in published.data_sets.items()
        for (metric, technique, share), value in own.values.items()
    ]
    techniques = list(dict.fromkeys(technique for _, _, technique, _, _ in figures))
    rows: dict[tuple[str, str, float], dict[str, str]] = {}
    for data, metric, technique, share, value in figures:
        if technique != DENSE:
            rows.setdefault((data, metric, share), {DENSE: MISSING})[technique] = value
    for data, metric, technique, _, value in figures:
        for place, row in rows.items():
            if technique == DENSE and place[:2] == (data, metric):
                row[DENSE] = value
    return Table(
        slug=family.file("published-data-sets"),
        caption=f"Published figures: {published.title}.",
        header=["data set", "metric", WORDS[published.rows].axis, *techniques],
        rows=[
            [data, metric, percent(share), *(row.get(name, MISSING) for name in techniques)]
            for (data, metric, share), row in rows.items()
        ],
        notes=[
            f"Published: {published.citation}.",
            *(f"{metric}: {how}." for metric, how in published.computed.items()),
        ],
    )


def published_transfers(published: Published) -> dict[float, dict[str, dict[str, str]]]:
    """Return sparsity -> source -> target -> published difference to the full model."""
    matrices: dict[float, dict[str, dict[str, str]]] = {}
    for each in published.transfers:
        by_source = matrices.setdefault(each.sparsity, {})
        by_source.setdefault(each.source, {})[each.target] = each.value
    return matrices


def as_good_as_own(matrix: dict[str, dict[str, str]], source: str) -> tuple[int, int]:
    """Return on how many other data sets masks do at least as well as their own, and of how many.

    It counts by the printed figures, so two that are printed alike count as equal.
    """
    others = [name for name in matrix[source] if name != source and name in matrix]
    as_good = sum(float(matrix[source][n]) >= float(matrix[n][n]) for n in others)
    return as_good, len(others)
