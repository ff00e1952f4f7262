"""Rows of a table whose columns are separated by tabs, without quotes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError

MOST_MALFORMED = 0.01  # of the rows; more are a sign of another table
ENOUGH = 1000  # rows, below which single malformed ones are not counted against the share


@dataclass
class Rows:
    """The rows of a table, read one by one; a quotation mark is a character like any other.

    Attributes:
        path: the table.
        columns: names of the columns to return.
        header: names of all columns of a table without a header line; None if it has one.
        skips: whether rows with another number of columns are skipped. Otherwise they are an
            error, because predictions for a test set are compared row by row.
        read, malformed: numbers of rows so far, without the header, and of those skipped.
    """

    path: Path
    columns: Sequence[str]
    header: Optional[Sequence[str]] = None
    skips: bool = True
    read: int = field(default=0, init=False)
    malformed: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Yield the wanted columns of each row.

        Raises:
            LotteryError: a column is missing, a row is malformed and not skipped, too many rows
                are skipped, or the table is not UTF-8.
        """
        self.read = self.malformed = 0
        with open(self.path, "rb") as file:
            header = list(self.header or self._fields(next(file, b""), 1))
            missing = [column for column in self.columns if column not in header]
            if missing:
                raise LotteryError(
                    f"{self.path.name} has no column {', '.join(missing)}; it has"
                    f" {', '.join(header)[:200]}: it is not the table described"
                )
            places = [header.index(column) for column in self.columns]
            for number, line in enumerate(file, 1 if self.header else 2):
                self.read += 1
                fields = self._fields(line, number)
                if len(fields) == len(header):
                    yield tuple(fields[place].strip() for place in places)
                    continue
                if not self.skips:
                    raise LotteryError(
                        f"line {number} of {self.path.name} has {len(fields)} columns, expected"
                        f" {len(header)}; remove the archive and run the same command again"
                    )
                self.malformed += 1
        if self.malformed > MOST_MALFORMED * max(self.read, ENOUGH):
            raise LotteryError(
                f"{self.malformed:,} of {self.read:,} rows of {self.path.name} do not have"
                f" {len(header)} columns: it is not the table described"
            )

    def _fields(self, line: bytes, number: int) -> list[str]:
        """Return the fields of a line, which ends at a line feed and nowhere else."""
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            return line.rstrip(b"\r\n").decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            raise LotteryError(
                f"line {number} of {self.path.name} is not UTF-8 ({error.reason}); remove the"
                " archive and run the same command again"
            ) from error
