"""Read columns of the CoNLL tasks, word TAB label, labelled pairs of words, and alignments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from fairseq_lottery.analysis.labels.label_file import (
    ARC,
    RELATION,
    Pair,
    Sentence,
    refuse_unknown,
)
from fairseq_lottery.analysis.labels.label_lines import whole_number
from fairseq_lottery.errors import LotteryError

_DOCUMENT = "-DOCSTART-"
#: label of words that have none
_NONE = ("", "_")
#: name of the task if the last column is read
LAST = "last"
_LINK = re.compile(r"(\d{1,9})-(\d{1,9})")


def read_columns(
    path: Path, lines: Iterable[str], tasks: Sequence[str]
) -> tuple[list[Sentence], tuple[str, ...]]:
    """Read columns: the word, then labels; a blank line ends a sentence.

    Columns are separated by tabs, or by spaces as in CoNLL-2000 and CoNLL-2003. Lines that start
    with ``-DOCSTART-`` are skipped. ``_`` marks a word without a label.
    """
    for task in tasks:
        if (whole_number(task) or 0) < 2:
            raise LotteryError(f"{path} has no label {task!r}; give the number of a column from 2")
    wanted = tuple(tasks) or (LAST,)
    sentences: list[Sentence] = []
    words: list[str] = []
    values: dict[str, list[Optional[str]]] = {name: [] for name in wanted}

    def end() -> None:
        if words:
            labels = {name: tuple(column) for name, column in values.items()}
            division = tuple((word, (number,)) for number, word in enumerate(words))
            sentences.append(Sentence((division,), labels))
        words.clear()
        for column in values.values():
            column.clear()

    for number, line in enumerate(lines, 1):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip():
            end()
        elif cells[0] != _DOCUMENT:
            words.append(cells[0].strip())
            for name in wanted:
                column = len(cells) if name == LAST else int(name)
                if column > len(cells):
                    raise LotteryError(
                        f"{path}, line {number} has {len(cells)} columns, expected {column} or more"
                    )
                label = cells[column - 1].strip() if column > 1 else ""
                values[name].append(None if label in _NONE else label)
    end()
    if sentences and all(
        value is None for one in sentences for v in one.values.values() for value in v
    ):
        raise LotteryError(f"{path} has words without labels; give a file with word TAB label")
    return sentences, wanted


def read_pairs(
    path: Path, lines: Iterable[str], tasks: Sequence[str]
) -> tuple[list[Sentence], tuple[str, ...]]:
    """Read lines ``i TAB j TAB label``; words count from 0, each sentence ends with a blank line.

    A sentence without pairs is a blank line.
    """
    sentences: list[Sentence] = []
    pairs: list[Pair] = []
    is_open = False
    for number, line in enumerate(lines, 1):
        is_open = bool(line.strip())
        if not is_open:
            sentences.append(Sentence(pairs=tuple(pairs)))
            pairs = []
            continue
        cells = line.split("\t")
        first, second = (*map(whole_number, cells[:2]), None)[:2]
        if len(cells) != 3 or first is None or second is None:
            raise LotteryError(
                f"{path}, line {number} is {line[:80]!r}, expected two numbers of words and a"
                " label, separated by tabs"
            )
        pairs.append((first, second, cells[2].strip()))
    if is_open:
        sentences.append(Sentence(pairs=tuple(pairs)))
    return sentences, _pair_tasks(path, sentences, tasks)


def read_alignment(
    path: Path, lines: Iterable[str], tasks: Sequence[str]
) -> tuple[list[Sentence], tuple[str, ...]]:
    """Read a line of links ``i-j`` for each sentence: source word, target word, from 0.

    fast_align, eflomal and awesome-align write it (Pharaoh).
    """
    sentences: list[Sentence] = []
    for number, line in enumerate(lines, 1):
        links = [(link, _LINK.fullmatch(link)) for link in line.split()]
        for link, match in links:
            if match is None:
                raise LotteryError(
                    f"{path}, line {number} has {link[:40]!r}, expected links i-j of word numbers"
                )
        pairs = dict.fromkeys((int(m[1]), int(m[2]), ARC) for _, m in links if m is not None)
        sentences.append(Sentence(pairs=tuple(pairs)))
    return sentences, _pair_tasks(path, sentences, tasks)


def _pair_tasks(path: Path, sentences: Sequence[Sentence], tasks: Sequence[str]) -> tuple[str, ...]:
    labels = {pair[2] for one in sentences for pair in one.pairs}
    if not labels:
        raise LotteryError(f"{path} has no pair of words; give a file with pairs")
    known = (ARC, RELATION) if len(labels) > 1 else (ARC,)
    refuse_unknown(path, tasks, known)
    return tuple(tasks) or known
