"""Read CoNLL-U: labels of words, and arcs of the tree of dependencies.

A sentence is offered in up to three divisions, as a recording can have any of them: syntactic words
(``zu dem``), tokens (``zum``), and tokens joined where no space follows (``zum,``). A joined word
has the label and the arc of the one of its words whose head is outside of it. A word with spaces
(``120 000``) is several words, of which the first has the label. Empty nodes (``8.1``) are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq_lottery.analysis.probing.labels.label_file import (
    ARC,
    RELATION,
    Alternatives,
    Labels,
    refuse_unknown,
)
from fairseq_lottery.errors import LotteryError

#: task -> column
_COLUMNS = {"upos": 3, "xpos": 4, "deprel": 7}
#: columns with NAME=VALUE entries: FEATS and MISC
_ENTRIES = (5, 9)
_DEFAULT = ("upos", ARC, RELATION)
_NO_SPACE = "SpaceAfter=No"


@dataclass
class _Sentence:
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
            if cells[6] == "_":
                heads.append(None)
            elif cells[6].isdecimal() and int(cells[6]) <= len(self.words):
                heads.append(int(cells[6]) - 1)
            else:
                raise LotteryError(
                    f"{path}: word {cells[0]} of the sentence at line {self.start} has the head"
                    f" {cells[6]!r}, expected a number from 0 to {len(self.words)}"
                )
        return heads


def read(
    path: Path, lines: Iterable[str], tasks: Sequence[str]
) -> tuple[list[Alternatives], tuple[str, ...]]:
    """Return the sentences and the tasks of a file; see ``read_labels``."""
    wanted = tuple(tasks) or _DEFAULT
    names = [task for task in wanted if task not in (ARC, RELATION)]
    known = dict.fromkeys((*_COLUMNS, ARC, RELATION))
    sentences = []
    for sentence in _sentences(path, lines):
        heads = sentence.heads(path)
        labels = [_labels(cells) for cells in sentence.words]
        for one in labels:
            known.update(dict.fromkeys(one))
        divisions = _divisions(sentence)
        sentences.append(
            tuple(_merged(sentence, heads, labels, names, groups) for groups in divisions)
        )
    refuse_unknown(path, wanted, known)
    for name in names:
        if all(value is None for one in sentences for value in one[0].values[name]):
            raise LotteryError(f"{path} has no label {name!r} at any word; probe another label")
    return sentences, wanted


def _sentences(path: Path, lines: Iterable[str]) -> Iterator[_Sentence]:
    sentence: Optional[_Sentence] = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if sentence is not None and sentence.words:
                yield sentence
            sentence = None
        elif not line.startswith("#"):
            sentence = sentence or _Sentence(number)
            _add(sentence, line, path, number)
    if sentence is not None and sentence.words:
        yield sentence


def _add(sentence: _Sentence, line: str, path: Path, number: int) -> None:
    cells = line.split("\t")
    if len(cells) != 10:
        raise LotteryError(
            f"{path}, line {number} has {len(cells)} columns, expected the 10 of CoNLL-U, separated"
            " by tabs"
        )
    first, dash, last = cells[0].partition("-")
    count = len(sentence.words)
    if dash and first.isdecimal() and last.isdecimal():
        sentence.tokens[int(first) - 1] = (int(last) - int(first) + 1, cells[1], cells[9])
    elif cells[0] == str(count + 1):
        sentence.words.append(cells)
    elif not all(part.isdecimal() for part in cells[0].split(".", 1)) or "." not in cells[0]:
        raise LotteryError(f"{path}, line {number} has the ID {cells[0]!r}, expected {count + 1}")


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


#: a word: its form, and the numbers of its syntactic words, none for the rest of a word with spaces
_Group = tuple[str, range]


def _divisions(sentence: _Sentence) -> list[list[_Group]]:
    """Return the divisions into words that differ, the finest first."""
    words: list[_Group] = [(cells[1], range(n, n + 1)) for n, cells in enumerate(sentence.words)]
    tokens: list[_Group] = []
    spaces: list[bool] = []
    number = 0
    while number < len(words):
        size, form, misc = sentence.tokens.get(
            number, (1, sentence.words[number][1], sentence.words[number][9])
        )
        end = min(number + max(size, 1), len(words))
        tokens.append((form, range(number, end)))
        spaces.append(_NO_SPACE not in misc.split("|"))
        number = end
    joined: list[_Group] = []
    for (form, numbers), is_first in zip(tokens, [True, *spaces]):
        if is_first:
            joined.append((form, numbers))
        else:
            before, started = joined[-1]
            joined[-1] = before + form, range(started.start, numbers.stop)
    divisions = [words]
    for division in (tokens, joined):
        if division != divisions[-1]:
            divisions.append(division)
    return [
        [
            (piece, range(0) if number else numbers)
            for form, numbers in division
            for number, piece in enumerate(form.split() or [form])
        ]
        for division in divisions
    ]


def _merged(
    sentence: _Sentence,
    heads: Sequence[Optional[int]],
    labels: Sequence[dict[str, str]],
    names: Sequence[str],
    groups: Sequence[_Group],
) -> Labels:
    """Return the labels of a division."""
    group_of = {word: n for n, (_, numbers) in enumerate(groups) for word in numbers}
    leaders = [
        next((word for word in numbers if heads[word] not in numbers), numbers[0])
        if numbers
        else None
        for _, numbers in groups
    ]
    pairs = []
    for number, leader in enumerate(leaders):
        head = None if leader is None else heads[leader]
        if leader is not None and head is not None and head >= 0 and group_of[head] != number:
            pairs.append((number, group_of[head], sentence.words[leader][7]))
    return Labels(
        tuple(form for form, _ in groups),
        {
            name: tuple(None if n is None else labels[n].get(name) for n in leaders)
            for name in names
        },
        tuple(pairs),
    )
