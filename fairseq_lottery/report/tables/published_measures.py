"""Tables of published and measured figures of the inside of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.measured_rows import MeasuredRow, read_measured
from fairseq_lottery.report.reading.published import Published, PublishedMeasure
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.tables.score_tables import cell_text, spread_text
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: column of a row -> its header
_COLUMNS = {
    "part": "part", "layer": "layer", "head": "head", "statistic": "statistic",
    "component": "directions",
}  # fmt: skip
#: relative tolerance of two equal sparsities
_TOLERANCE = 1e-6


def measure_tables(group: Group, published: Published) -> list[Table]:
    """Return a table for each measure with published figures, and ours beside them."""
    names = list(dict.fromkeys(figure.measure for figure in published.measures))
    measured = read_measured(group.stages, names)
    return [_table(group, published, name, measured) for name in names]


def _table(group: Group, published: Published, name: str, measured: Sequence[MeasuredRow]) -> Table:
    figures = [figure for figure in published.measures if figure.measure == name]
    columns = [c for c in _COLUMNS if any(c in figure.place for figure in figures)]
    values = [values_of(figure, measured) for figure in figures]
    most = max(1, *map(len, values))
    digits = 1 if any(abs(value) > 1.5 for each in values for value in each) else 3
    return Table(
        slug=group.file(f"{name}-published"),
        caption=f"`{name}` measured here ({spread_text(most)}) beside {published.title}.",
        header=[
            *("technique", group.words.axis, *(_COLUMNS[column] for column in columns)),
            *("here", "published", "how it is known"),
        ],
        rows=[
            [
                DENSE if figure.technique == DENSE else group.title_of(figure.technique),
                percent(figure.sparsity),
                *(figure.place.get(column, MISSING) for column in columns),
                cell_text(own, most, digits),
                figure.value,
                figure.note,
            ]
            for figure, own in zip(figures, values)
        ],
        notes=[
            f"Published: {published.citation}.",
            "The recipes differ, so the figures do not prove a difference.",
            *([] if any(values) else ["Nothing is measured here; run fairseq-lottery analyze."]),
        ],
    )


def values_of(figure: PublishedMeasure, measured: Sequence[MeasuredRow]) -> list[float]:
    """Return the measured values at the place of a published figure, by seed."""
    rows = [
        row
        for row in measured
        if (row.measure, row.technique) == (figure.measure, figure.technique)
        and abs(row.sparsity - figure.sparsity) <= _TOLERANCE
        and _has(row.place, figure.place)
    ]
    return [row.value for row in sorted(rows, key=lambda row: row.seed)]


def _has(place: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(place.get(column) == text for column, text in wanted.items())
