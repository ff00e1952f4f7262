"""Read CoNLL-U: labels of words, and arcs of the tree of dependencies.

A sentence is offered in several divisions, as a recording can have any of them: syntactic words
(``zu dem``), tokens (``zum``), and tokens joined where no space follows (``zum,``). A word with
spaces (``120 000``) is several words, of which the first has the label; in the last division it is
one word. Empty nodes (``8.1``) are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq_lottery.analysis.labels.label_file import (
    ARC,
    RELATION,
    Division,
    Sentence,
    refuse_unknown,
)
from fairseq_lottery.analysis.labels.label_lines import whole_number
from fairseq_lottery.errors import LotteryError

#: task -> column
_COLUMNS = {"upos": 3, "xpos": 4, "deprel": 7}
#: columns with NAME=VALUE entries: FEATS and MISC
_ENTRIES = (5, 9)
_DEFAULT = ("upos", ARC, RELATION)
_NO_SPACE = "SpaceAfter=No"
#: ID of a word, of a multiword token (3-4), or of an empty node (8.1)
_ID = re.compile(r"(\d{1,9})(?:([-.])(\d{1,9}))?")


@dataclass
class _Rows:
    """Lines of a sentence.

    Attributes:
        start: number of its first line in the file, from 1.
        words: cells of each syntactic word.
        tokens: first word of a multiword token -> (number of its words, form, MISC).
    """

    start: int
    words: list[list[str]] = field(default_factory=list)
    tokens: dict[int, tuple[int, str, str]] = field(default_factory=dict)

    def heads(self, path: Path) -> list[Optional[int]]:
        """Return the head of each word from 0, -1 for the root, None without a head."""
        heads: list[Optional[int]] = []
        for cells in self.words:
            head = whole_number(cells[6])
            if cells[6] != "_" and (head is None or head > len(self.words)):
                raise LotteryError(
                    f"{path}: word {cells[0]} of the sentence at line {self.start} has the head"
                    f" {cells[6][:40]!r}, expected a number from 0 to {len(self.words)}"
                )
            heads.append(None if head is None else head - 1)
        return heads


def read(
    path: Path, lines: Iterable[str], tasks: Sequence[str]
) -> tuple[list[Sentence], tuple[str, ...]]:
    """Return the sentences and the tasks of a file; see ``read_labels``."""
    wanted = tuple(tasks) or _DEFAULT
    names = [task for task in wanted if task not in (ARC, RELATION)]
    known = dict.fromkeys((*_COLUMNS, ARC, RELATION))
    sentences = []
    for rows in _sentences(path, lines):
        heads = rows.heads(path)
        labels = [_labels(cells) for cells in rows.words]
        known.update(dict.fromkeys(name for one in labels for name in one))
        sentences.append(
            Sentence(
                _divisions(rows),
                {name: tuple(one.get(name) for one in labels) for name in names},
                tuple(
                    (number, head, cells[7])
                    for number, (head, cells) in enumerate(zip(heads, rows.words))
                    if head is not None and head >= 0
                ),
                is_parsed=None not in heads,
            )
        )
    refuse_unknown(path, wanted, known)
    for name in names:
        if all(value is None for one in sentences for value in one.values[name]):
            raise LotteryError(f"{path} has no label {name!r} at any word; probe another label")
    return sentences, wanted


def _sentences(path: Path, lines: Iterable[str]) -> Iterator[_Rows]:
    sentence: Optional[_Rows] = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if sentence is not None and sentence.words:
                yield sentence
            sentence = None
        elif not line.startswith("#"):
            sentence = sentence or _Rows(number)
            _add(sentence, line, path, number)
    if sentence is not None and sentence.words:
        yield sentence


def _add(sentence: _Rows, line: str, path: Path, number: int) -> None:
    cells = line.split("\t")
    if len(cells) != 10:
        raise LotteryError(
            f"{path}, line {number} has {len(cells)} columns, expected the 10 of CoNLL-U, separated"
            " by tabs"
        )
    if not cells[1]:
        raise LotteryError(f"{path}, line {number} has no FORM, the second column of CoNLL-U")
    match, expected = _ID.fullmatch(cells[0]), len(sentence.words) + 1
    first, mark, last = match.groups("") if match else ("0", "", "")
    if mark == "-":
        sentence.tokens[int(first) - 1] = (int(last) - int(first) + 1, cells[1], cells[9])
    elif not mark and int(first) == expected:
        sentence.words.append(cells)
    elif not mark:
        raise LotteryError(
            f"{path}, line {number} has the ID {cells[0][:40]!r}, expected {expected}"
        )


def _labels(cells: Sequence[str]) -> dict[str, str]:
    """Return the labels of a word by task."""
    labels = {}
    for column in reversed(_ENTRIES):  # a feature before an entry of MISC with its name
        for entry in cells[column].split("|"):
            name, equals, value = entry.partition("=")
            if equals:
                labels[name] = value
    labels.update({task: cells[n] for task, n in _COLUMNS.items() if cells[n] != "_"})
    return labels


def _divisions(sentence: _Rows) -> tuple[Division, ...]:
    """Return the divisions into words that differ, the finest first."""
    words: Division = tuple((cells[1], (n,)) for n, cells in enumerate(sentence.words))
    tokens, joined = list(words[:0]), list(words[:0])
    number, is_after_space = 0, True
    while number < len(words):
        cells = sentence.words[number]
        size, form, misc = sentence.tokens.get(number, (1, cells[1], cells[9]))
        end = min(number + max(size, 1), len(words))
        units = tuple(range(number, end))
        tokens.append((form, units))
        before, others = ("", ()) if is_after_space else joined.pop()
        joined.append((before + form, (*others, *units)))
        number, is_after_space = end, _NO_SPACE not in misc.split("|")
    divisions = [
        tuple(
            (piece, () if number else units)
            for form, units in division
            for number, piece in enumerate(form.split() or [form])
        )
        for division in (words, tokens, joined)
    ]
    divisions.append(tuple(("".join(form.split()) or form, units) for form, units in tokens))
    return tuple(dict.fromkeys(divisions))
