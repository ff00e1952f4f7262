"""Tables of a sweep: a CSV file per command, and the record of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.results import as_csv
from fairseq_lottery.analysis.sweep.settings import RECORD
from fairseq_lottery.analysis.sweep.tasks import SWEEP_COLUMNS
from fairseq_lottery.files import replacing
from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.schema import Count, Line, Rule, Text, one_of

FORMAT = "fairseq_lottery analysis 1"

#: a name of a command, which is a file name without suffix
Command = Annotated[
    str, Rule("a name of lowercase letters", lambda text: text.isascii() and text.isalpha())
]


@dataclass(frozen=True)
class MeasureRecord:
    """A measure in the tables: its title, what it runs over, and the ends of its values.

    Attributes:
        in_report: statistics whose figures a report shows, empty for all; None if it shows none.
            Files of earlier versions lack it: a report shows all of their figures.
    """

    title: Line
    command: Command
    over: Text
    low: Optional[float] = None
    high: Optional[float] = None
    in_report: Optional[tuple[Text, ...]] = ()

    def is_in_report(self, statistic: str) -> bool:
        """Return whether a report shows the figures of a statistic."""
        return self.in_report is not None and (not self.in_report or statistic in self.in_report)


@dataclass(frozen=True)
class CellRecord:
    """A cell in the tables, and the SHA-256 of its model."""

    technique: Text
    sparsity: float
    seed: Count
    file: Text
    sha256: Text


@dataclass(frozen=True)
class SkippedTask:
    """A task without rows, and why."""

    task: Text
    reason: Text


@dataclass(frozen=True)
class SweepRecord:
    """Content of ``analysis.json``.

    Attributes:
        rows: command -> number of rows of its table.
        counts: side -> number of recorded words.
    """

    format: Annotated[str, one_of((FORMAT,))]
    against: Text
    subset: Text
    words: Count
    data: Text
    counts: dict[Text, Count]
    measures: dict[Text, MeasureRecord]
    cells: tuple[CellRecord, ...]
    rows: dict[Command, Count]
    skipped: tuple[SkippedTask, ...]
    version: Text


def write_tables(folder: Path, tables: Mapping[str, Sequence[Row]], record: SweepRecord) -> None:
    """Write ``COMMAND.csv`` for each command, each atomically, and then the record."""
    for command, rows in tables.items():
        with replacing(folder / f"{command}.csv") as temporary:
            temporary.write_text(as_csv(rows, SWEEP_COLUMNS), encoding="utf-8")
    write_file(folder / RECORD, asdict(record), indent=1)


def by_command(rows: Iterable[tuple[str, Row]]) -> dict[str, list[Row]]:
    """Return rows by command."""
    tables: dict[str, list[Row]] = {}
    for command, row in rows:
        tables.setdefault(command, []).append(row)
    return tables
