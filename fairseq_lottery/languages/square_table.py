"""``SquareTable``: similarities of languages, or of pairs of languages, to each other."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.tables import grid
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.languages.metadata import LANGUAGE

#: fewest and most languages of a table
FEWEST, MOST = 3, 200
_LARGEST = 1 << 22
_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class SquareTable:
    """A symmetric table of finite similarities.

    Attributes:
        names: languages, or pairs of languages.
        values: their similarities; those of a language to itself are ignored.

    Raises:
        LotteryError: there are too few or too many names, or a similarity is not finite.
    """

    names: tuple[str, ...]
    values: Array

    def __post_init__(self) -> None:
        if not FEWEST <= len(self.names) <= MOST:
            raise LotteryError(
                f"{len(self.names)} languages are given, expected from {FEWEST} to {MOST}"
            )
        for name in self.names:
            if not LANGUAGE.fullmatch(name):
                raise LotteryError(
                    f"the language {name[:50]!r} is malformed; give letters, digits, _, @ and -"
                )
            if self.names.count(name) > 1:
                raise LotteryError(f"the language {name} is given twice")
        rows, columns = np.nonzero(~np.isfinite(self.values) & ~np.eye(len(self.names), dtype=bool))
        if len(rows):
            raise LotteryError(
                f"the similarity of {self.names[rows[0]]} and {self.names[columns[0]]} is undefined"
            )

    @classmethod
    def of(cls, names: Sequence[str], pairs: Mapping[tuple[str, str], float]) -> SquareTable:
        """Create a table from the similarity of each pair of names, in either order."""
        values = np.ones((len(names), len(names)))
        for (a, b), value in pairs.items():
            row, column = names.index(a), names.index(b)
            values[row, column] = values[column, row] = value
        return cls(tuple(names), values)

    def lines(self) -> list[str]:
        """Return the table for a terminal."""
        rows = [
            [name, *("-" if n == row else float(v) for n, v in enumerate(self.values[row]))]
            for row, name in enumerate(self.names)
        ]
        return grid(["", *self.names], rows)


def read_square(path: Union[str, Path]) -> SquareTable:
    """Read a table: names in the first line and column, with commas or tabs between the cells.

    Raises:
        LotteryError: the file cannot be read, or the table is not square or not symmetric.
    """
    try:
        lines = [line for line in read_lines(path, _LARGEST) if line.strip()]
        mark = "\t" if lines and "\t" in lines[0] else ","
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LotteryError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    names, body = rows[0][1:] if rows else [], rows[1:]
    if (
        not names
        or [row[0] for row in body] != names
        or any(len(row) != len(names) + 1 for row in body)
    ):
        raise LotteryError(
            f"{path} is not a square table; its first line and its first column must have the same"
            " names in the same order"
        )
    values = np.ones((len(names), len(names)))
    for row, cells in enumerate(body):
        for column, cell in enumerate(cells[1:]):
            if row == column:
                continue
            if not (_NUMBER.fullmatch(cell) and math.isfinite(float(cell))):
                raise LotteryError(
                    f"{path}: the similarity of {names[row][:50]} and {names[column][:50]} is"
                    f" {cell[:50]!r}, expected a number"
                )
            values[row, column] = float(cell)
    rows_of, columns_of = np.nonzero(np.abs(values - values.T) > 1e-9 * np.abs(values))
    if len(rows_of):
        a, b = names[rows_of[0]][:50], names[columns_of[0]][:50]
        raise LotteryError(
            f"{path} has two different similarities of {a} and {b}; give a symmetric table"
        )
    try:
        return SquareTable(tuple(names), values)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}") from None
