"""``labelled_rows``: rows of one command with a short name of each model as their technique."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from fairseq_lottery.analysis.registry import Row


def labelled_rows(rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows of one command, whose models are told apart in figures.

    The column ``technique`` has the name of the model, or of the one that it is compared with.
    Rows of a sweep, and of a single model, stay as they are.
    """
    if any("technique" in row for row in rows):
        return rows
    columns = [name for name in ("model", "other") if any(name in row for row in rows)]
    if not columns:
        return rows
    labels = short_names(str(row[name]) for name in columns for row in rows if name in row)

    def label(row: Row) -> str:
        return ", ".join(labels[str(row[name])] for name in columns if name in row)

    return [{**row, "technique": label(row)} if label(row) else row for row in rows]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return path -> the part of it that no other path has; a name without folders stays."""
    parts = {path: PurePath(path).parts for path in dict.fromkeys(paths)}
    long = {path: own for path, own in parts.items() if len(own) > 1}
    shortest = min(map(len, long.values()), default=1) - 1
    start = end = 0
    while start < shortest and len({own[start] for own in long.values()}) == 1:
        start += 1
    while end < shortest - start and len({own[-1 - end] for own in long.values()}) == 1:
        end += 1
    return {
        path: "/".join(own[start : len(own) - end]) if path in long else path
        for path, own in parts.items()
    }
