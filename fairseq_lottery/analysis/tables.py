"""Plain tables of rows, for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Callable, Union

from fairseq_lottery.analysis.matrix_places import MATRICES, matrix_place
from fairseq_lottery.analysis.registry import Row

Cell = Union[str, int, float]
#: most characters of a line, where a column fits beside the labels
WIDTH = 80


def grid(header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> list[str]:
    """Return the lines of a table, the first column to the left and all others to the right."""
    table = [[_text(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in table
    ]


def _text(cell: Cell) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:.0f}" if cell >= 2 and cell.is_integer() else f"{cell:.3f}"


def pivot(
    corner: str,
    rows: Iterable[Row],
    label: Callable[[Row], str],
    column: Callable[[Row], Cell],
) -> list[str]:
    """Return a table with a line for each label and a column for each value of ``column``.

    Columns that do not fit ``WIDTH`` follow in further tables.

    Args:
        corner: heading of the labels.
        rows: rows of measures; the last one with the same label and column counts.
        label: label of a row.
        column: its column; columns are in the order in which they first occur.
    """
    cells: dict[str, dict[Cell, Cell]] = {}
    for row in rows:
        cells.setdefault(label(row), {})[column(row)] = row["value"]
    columns = list(dict.fromkeys(name for line in cells.values() for name in line))
    tables: list[str] = []
    while columns:
        for count in range(len(columns), 0, -1):
            shown = columns[:count]
            body = [[name, *(line.get(one, "-") for one in shown)] for name, line in cells.items()]
            lines = grid([corner, *shown], body)
            if count == 1 or max(map(len, lines)) <= WIDTH:
                break
        tables += ["", *lines]
        columns = columns[count:]
    return tables[1:]


def measured(row: Row) -> str:
    """Return what a row measures: the measure, its statistic and the component."""
    return " ".join(str(row[name]) for name in ("measure", "statistic", "component") if name in row)


def by_place(rows: Sequence[Row], label: Callable[[Row], str] = measured) -> list[str]:
    """Return tables of rows: by layer for each part, by matrix and layer, and by head.

    Of the rows of heads only those of no matrix, or of ``all``, are shown.

    Args:
        rows: rows of measures, at most one for each label, part, layer, head and matrix.
        label: label of a row.
    """
    lines: list[str] = []
    heads = [row for row in rows if "head" in row and row.get("matrix", "all") == "all"]
    whole = [row for row in rows if "head" not in row]
    layered = [row for row in whole if "layer" in row and "matrix" not in row]
    for part in dict.fromkeys(row["part"] for row in layered):
        of_part = [row for row in layered if row["part"] == part]
        lines += ["", *pivot(f"{part}, layer", of_part, label, _layer)]
    lines += _by_matrix([row for row in whole if "matrix" in row], label)
    for name in dict.fromkeys(map(label, heads)):
        own = [row for row in heads if label(row) == name]
        lines += ["", name, *pivot("head", own, _part_and_layer, lambda row: row["head"])]
    others = [row for row in whole if "layer" not in row and "matrix" not in row]
    if others:
        lines += ["", *pivot("", others, label, lambda row: row.get("part", "value"))]
    return lines[1:]


def _by_matrix(rows: Sequence[Row], label: Callable[[Row], str]) -> list[str]:
    """Return a table for each label, and one of the matrices outside of layers."""
    lines: list[str] = []
    places = [(row, matrix_place(str(row["matrix"]))) for row in rows]
    inside = [(row, place) for row, place in places if place is not None]
    for name in dict.fromkeys(label(row) for row, _ in inside):
        own = [(row, place) for row, place in inside if label(row) == name]
        sides = [side for side in ("enc", "dec") if any(place[0] == side for _, place in own)]
        tables = [_layers_table(own, sides)]
        if len(sides) > 1 and "" in tables[0]:  # too wide: a table for each side
            tables = [_layers_table(own, [side]) for side in sides]
        lines += ["", name, *tables[0], *(line for one in tables[1:] for line in ("", *one))]
    outside = [row for row, place in places if place is None]
    if outside:
        lines += ["", *pivot("matrix", outside, label, _outside)]
    return lines


def _layers_table(
    rows: Sequence[tuple[Row, tuple[str, int, str]]], sides: Sequence[str]
) -> list[str]:
    values = {place: row["value"] for row, place in rows if place[0] in sides}
    layers = sorted({place[:2] for place in values}, key=lambda one: (sides.index(one[0]), one[1]))
    kinds = [kind for kind in MATRICES if any(place[2] == kind for place in values)]
    cells: list[Row] = [
        {"matrix": kind, "part": f"{side} {layer}", "value": values.get((side, layer, kind), "-")}
        for kind in kinds
        for side, layer in layers
    ]
    return pivot("layer", cells, lambda row: str(row["matrix"]), lambda row: row["part"])


def _outside(row: Row) -> Cell:
    name = str(row["matrix"])
    return name[: -len(".weight")] if name.endswith(".weight") else name


def _part_and_layer(row: Row) -> str:
    return f"{row['part']} {row['layer']}"


def _layer(row: Row) -> Cell:
    return row.get("other_layer", row["layer"])
