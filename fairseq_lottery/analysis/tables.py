"""Plain tables of rows, for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Callable, Union

from fairseq_lottery.analysis.registry import Row

Cell = Union[str, int, float]


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
    body = [[name, *(line.get(one, "-") for one in columns)] for name, line in cells.items()]
    return grid([corner, *columns], body)


def measured(row: Row) -> str:
    """Return what a row measures: the measure, its statistic and the component."""
    return " ".join(str(row[name]) for name in ("measure", "statistic", "component") if name in row)


def by_place(rows: Sequence[Row], label: Callable[[Row], str] = measured) -> list[str]:
    """Return tables of rows: by layer for each part, and by matrix.

    Args:
        rows: rows of measures, at most one for each label, part, layer and matrix.
        label: label of a row in the tables by layer.
    """
    lines: list[str] = []
    layered = [row for row in rows if "layer" in row and "matrix" not in row]
    for part in dict.fromkeys(row["part"] for row in layered):
        of_part = [row for row in layered if row["part"] == part]
        lines += ["", *pivot(f"{part}, layer", of_part, label, _layer)]
    matrices = [row for row in rows if "matrix" in row]
    if matrices:
        lines += ["", *pivot("matrix", matrices, lambda row: str(row["matrix"]), label)]
    others = [row for row in rows if "layer" not in row and "matrix" not in row]
    if others:
        lines += ["", *pivot("", others, label, lambda row: row.get("part", "value"))]
    return lines[1:]


def _layer(row: Row) -> Cell:
    return row.get("other_layer", row["layer"])
