"""Tables of results as a folder of CSV files with a record; and their columns read back."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from fairseq_lottery import __version__
from fairseq_lottery.analysis.results import RECORD, as_csv
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines
from fairseq_lottery.files.folders import replacing_folder

#: name of a table -> its columns and its rows
Tables = Mapping[str, tuple[Sequence[str], Sequence[Mapping[str, Any]]]]
_LARGEST = 1 << 24


def save_tables(
    folder: Union[str, Path],
    command: str,
    tables: Tables,
    inputs: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write ``NAME.csv`` of each table and ``analysis.json`` into a new folder, atomically.

    Args:
        inputs: what the tables were computed from.
    """
    record = {"command": command, "inputs": dict(inputs), "version": __version__}
    with replacing_folder(folder, RECORD, overwrite) as (new, _):
        for name, (columns, rows) in tables.items():
            if rows:
                (new / f"{name}.csv").write_text(as_csv(rows, columns), encoding="utf-8")
        (new / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def as_json(command: str, tables: Tables, inputs: Mapping[str, Any]) -> str:
    """Return record and rows as JSON."""
    rows = {name: list(rows) for name, (_, rows) in tables.items()}
    return json.dumps({"command": command, "inputs": inputs, "version": __version__, **rows})


def read_table(
    path: Union[str, Path], words: Sequence[str], number: str, command: str
) -> list[dict[str, Any]]:
    """Read columns of a table: some with words, and one with finite numbers.

    Args:
        command: command that writes such tables, for messages.

    Raises:
        LotteryError: the table cannot be read, or lacks a column or a number.
    """
    rows: list[dict[str, Any]] = []
    try:
        reader = csv.DictReader(read_lines(path, _LARGEST), strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has another number of columns")
            value = float(row[number])
            if not math.isfinite(value):
                raise ValueError(f"line {reader.line_num} has no finite {number}")
            rows.append({**{name: row[name] for name in words}, number: value})
    except KeyError as error:
        raise LotteryError(
            f"{path} has no column {error.args[0]}; make the table with {command}"
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read: {reason}; make it with {command}") from error
    return rows
