"""``Sweep``: tables of an analysis, read as files of a stranger."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.sweep.settings import RECORD
from fairseq_lottery.analysis.sweep.tables import MeasureRecord, SweepRecord
from fairseq_lottery.analysis.sweep.tasks import SWEEP_COLUMNS
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.records.json_files import read_file
from fairseq_lottery.records.schema import is_text, short

#: most bytes of a table, and characters of a line; the roles of 33 cells have 31 MB
_LARGEST, _LONGEST = 1 << 27, 10_000
#: largest layer, head, component, seed
_MOST = 1 << 31


@dataclass(frozen=True)
class Sweep:
    """Rows of measures, and what they were computed from.

    Attributes:
        rows: rows with the columns of ``SWEEP_COLUMNS``.
        measures: name -> title and limits of each measure.
        against: technique that the others are compared with.
        words: sentence part that names the recorded words; empty if there are none.
        skipped: reason -> the tasks without rows.
    """

    rows: Sequence[Row]
    measures: Mapping[str, MeasureRecord]
    against: str = "dense"
    words: str = ""
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)


def sweep_of(tables: Mapping[str, Sequence[Row]], record: SweepRecord) -> Sweep:
    """Return tables that have just been computed."""
    skipped: dict[str, list[str]] = {}
    for one in record.skipped:
        skipped.setdefault(one.reason, []).append(one.task)
    words = ""
    if record.counts:
        counts = " and ".join(f"{count:,} {side}" for side, count in record.counts.items())
        words = f"{counts} words of {record.subset}"
    rows = [row for table in tables.values() for row in table]
    return Sweep(rows, record.measures, record.against, words, skipped)


def read_sweep(folder: Path) -> Optional[Sweep]:
    """Read the tables of a folder; None if it has no finished analysis.

    Raises:
        LotteryError: a file is missing, too large or malformed.
    """
    record = read_file(folder / RECORD, SweepRecord)
    if record is None:
        return None
    tables = {}
    for command, count in record.rows.items():
        path = folder / f"{command}.csv"
        tables[command] = list(read_table(path))
        if len(tables[command]) != count:
            raise LotteryError(
                f"{path} has {len(tables[command])} rows, expected {count}; run fairseq-lottery"
                " analyze again"
            )
        unknown = {str(row["measure"]) for row in tables[command]} - set(record.measures)
        if unknown:
            raise LotteryError(
                f"{path} has the measure {short(min(unknown))}, which {RECORD} lacks; run"
                " fairseq-lottery analyze again"
            )
    return sweep_of(tables, record)


def read_table(path: Path) -> Iterator[Row]:
    """Yield the rows of a table.

    Raises:
        LotteryError: the file is missing or too large, a column is unknown, or a value is not of
            its column's type.
    """
    try:
        reader = csv.reader(_short_lines(path), strict=True)
        header = next(reader, [])
        for name in header:
            if name not in SWEEP_COLUMNS or header.count(name) > 1:
                raise _malformed(path, 1, f"the column {short(name)} is unknown or given twice")
        for name in ("measure", "value"):
            if name not in header:
                raise _malformed(path, 1, f"the column {name} is missing")
        for number, cells in enumerate(reader, 2):
            if len(cells) != len(header):
                raise _malformed(path, number, f"it has {len(cells)} of {len(header)} columns")
            row = {
                name: _value(path, number, name, text) for name, text in zip(header, cells) if text
            }
            if "measure" not in row or "value" not in row:
                raise _malformed(path, number, "it has no measure or no value")
            yield row
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error
    except csv.Error as error:
        raise LotteryError(f"{path} is not a table ({error})") from error


def _short_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path, _LARGEST), 1):
        if len(line) > _LONGEST:
            raise _malformed(path, number, f"it has {len(line)} characters")
        yield line


def _value(path: Path, number: int, name: str, text: str) -> Union[str, int, float]:
    kind: Any = SWEEP_COLUMNS[name]
    try:
        value: Union[str, int, float] = kind(text)
        if kind is str:
            fits = is_text(text)
        elif kind is int:
            fits = text.isascii() and 0 <= int(value) < _MOST
        else:
            fits = math.isfinite(float(value))
    except ValueError:
        fits = False
    if not fits:
        raise _malformed(path, number, f"{name} is {short(text)}, expected {kind.__name__}")
    return value


def _malformed(path: Path, number: int, problem: str) -> LotteryError:
    return LotteryError(f"{path}, line {number} is malformed: {problem}")


def merge(sweeps: Iterable[Sweep]) -> Sweep:
    """Return the rows of several sweeps, as of further seeds, as one.

    Raises:
        LotteryError: they were recorded on other words, or compare with other techniques.
    """
    first, *others = sweeps
    for other in others:
        if (other.words or first.words) != (first.words or other.words):
            raise LotteryError(
                f"one analysis is of {first.words}, another of {other.words}; analyze the runs with"
                " equal --subset and --words"
            )
        if other.against != first.against:
            raise LotteryError(
                f"one analysis is against {first.against}, another against {other.against};"
                " analyze the runs with equal --against"
            )
    skipped: dict[str, list[str]] = {}
    for one in (first, *others):
        for reason, tasks in one.skipped.items():
            skipped.setdefault(reason, []).extend(tasks)
    return Sweep(
        [row for one in (first, *others) for row in one.rows],
        {name: measure for one in (first, *others) for name, measure in one.measures.items()},
        first.against,
        next((one.words for one in (first, *others) if one.words), ""),
        skipped,
    )
