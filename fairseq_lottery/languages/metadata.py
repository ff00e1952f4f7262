"""``Metadata``: facts about languages that the user gives: family, word order, size of the data."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines

#: a word or a number; None if it is unknown
Fact = Optional[Union[str, float]]
#: names of languages and of pairs of languages
LANGUAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_@-]{0,40}")
#: cell of a fact that is unknown
UNKNOWN = ("", "-")

_COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,30}")
_WORD = re.compile(r"[^\W\d_][\w .,()/+-]{0,60}")
_NUMBER = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_FIRST = "language"
#: largest file in bytes, and most languages and columns
_LARGEST, _MOST_LANGUAGES, _MOST_COLUMNS = 1 << 20, 1000, 30


@dataclass(frozen=True)
class Metadata:
    """Facts about languages, by column.

    Attributes:
        path: file of the table.
        columns: name of a column -> language -> fact. All facts of a column are words, or all are
            numbers.
    """

    path: str
    columns: Mapping[str, Mapping[str, Fact]]

    @property
    def languages(self) -> list[str]:
        """Languages in the order of the table."""
        return list(next(iter(self.columns.values())))

    def is_number(self, column: str) -> bool:
        """Return whether the facts of a column are numbers."""
        return any(isinstance(fact, float) for fact in self.columns[column].values())

    def facts(self, language: str) -> dict[str, Fact]:
        """Return column -> fact about a language."""
        return {name: facts[language] for name, facts in self.columns.items()}

    def languages_of(self, names: Sequence[str]) -> list[str]:
        """Return the language in the table of each name.

        A name is a language of the table. Or all names are pairs that share a language, such as
        ``aa-en`` and ``bb-en``; then it is the other language of the pair.

        Raises:
            LotteryError: a name has no row, or two names have the same language.
        """
        found = [name if name in self.languages else _other(name, names) for name in names]
        for name, language in zip(names, found):
            if language not in self.languages:
                raise LotteryError(
                    f"{self.path} has no row for {name}; add one, or leave the name out"
                )
            if found.count(language) > 1:
                both = [one for one, its in zip(names, found) if its == language]
                raise LotteryError(
                    f"{both[0]} and {both[1]} have the same row of {self.path}, {language}; compare"
                    " pairs of one direction, or add a row for each pair"
                )
        return found


def _other(name: str, names: Sequence[str]) -> str:
    """Return the language of a pair that not all pairs have; the name itself if there is none."""
    pairs = [one.split("-") for one in names]
    if not all(len(pair) == 2 for pair in pairs):
        return name
    shared = set(pairs[0]).intersection(*pairs[1:])
    rest = [language for language in name.split("-") if language not in shared]
    return rest[0] if len(shared) == 1 and len(rest) == 1 else name


def read_metadata(path: Union[str, Path]) -> Metadata:
    """Read a table: columns between tabs, the first is ``language``; a fact is a word or a number.

    An empty cell, or ``-``, is an unknown fact. Lines that start with ``#`` are comments.

    Raises:
        LotteryError: the file cannot be read, or a cell has another form.
    """
    try:
        lines = list(enumerate(read_lines(path, _LARGEST), 1))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read: {reason}") from error
    rows = [(n, [cell.strip() for cell in line.split("\t")]) for n, line in lines if _counts(line)]
    if not rows or rows[0][1][0] != _FIRST:
        raise LotteryError(
            f"{path} must start with a header whose first column is {_FIRST}, with a tab after each"
            " column but the last"
        )
    (_, header), body = rows[0], rows[1:]
    _refuse_header(path, header)
    if not 2 <= len(body) <= _MOST_LANGUAGES:
        raise LotteryError(
            f"{path} has {len(body)} languages, expected from 2 to {_MOST_LANGUAGES}"
        )
    languages: list[str] = []
    cells: dict[str, list[tuple[int, str]]] = {name: [] for name in header[1:]}
    for number, row in body:
        if len(row) != len(header):
            raise LotteryError(
                f"{path}, line {number} has {len(row)} columns, expected {len(header)}"
            )
        if not LANGUAGE.fullmatch(row[0]):
            raise LotteryError(
                f"{path}, line {number}: the language {row[0][:50]!r} is malformed; give letters,"
                " digits, _, @ and -"
            )
        if row[0] in languages:
            raise LotteryError(f"{path}, line {number}: the language {row[0]} is given twice")
        languages.append(row[0])
        for name, cell in zip(header[1:], row[1:]):
            cells[name].append((number, cell))
    columns = {name: dict(zip(languages, _facts(path, name, c))) for name, c in cells.items()}
    return Metadata(str(path), columns)


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _refuse_header(path: Union[str, Path], header: Sequence[str]) -> None:
    for name in header[1:]:
        if not _COLUMN.fullmatch(name):
            raise LotteryError(
                f"{path}: the column {name[:50]!r} is malformed; give up to 31 letters, digits, _,"
                " - and spaces"
            )
        if header.count(name) > 1:
            raise LotteryError(f"{path}: the column {name} is given twice")
    if not 2 <= len(header) <= _MOST_COLUMNS + 1:
        raise LotteryError(
            f"{path} has {len(header) - 1} columns of facts, expected from 1 to {_MOST_COLUMNS}"
        )


def _facts(path: Union[str, Path], name: str, cells: Iterable[tuple[int, str]]) -> list[Fact]:
    """Return the facts of a column, which are words or numbers."""
    facts: list[Fact] = []
    for number, cell in cells:
        if cell in UNKNOWN:
            facts.append(None)
        elif _NUMBER.fullmatch(cell) and math.isfinite(float(cell)):
            facts.append(float(cell))
        elif _WORD.fullmatch(cell):
            facts.append(cell)
        else:
            raise LotteryError(
                f"{path}, line {number}: {name} is {cell[:50]!r}, expected a number or a word that"
                " starts with a letter"
            )
        kinds = {type(fact) for fact in facts if fact is not None}
        if len(kinds) > 1:
            raise LotteryError(
                f"{path}, line {number}: {name} is {cell[:50]!r}, but lines above have"
                f" {'words' if isinstance(facts[-1], float) else 'numbers'}; give one kind"
            )
    return facts
