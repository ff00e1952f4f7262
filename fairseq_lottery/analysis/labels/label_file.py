"""``LabelFile``: the labels of each sentence, read from a file in one of five formats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.analysis.labels.label_lines import label_lines
from fairseq_lottery.errors import LotteryError

#: formats of label files: CoNLL-U; columns of the CoNLL tasks, or word TAB label; pairs of words
#: with a label; alignments ``i-j`` (Pharaoh)
FORMATS = ("conllu", "columns", "pairs", "alignment")
#: tasks of pairs: is there an arc, and which relation has it
ARC, RELATION = "arc", "relation"
#: lines that are searched for the format
_SEARCHED = 1000
_CONLLU_LINE = re.compile(r"\d+([-.]\d+)?(\t[^\t]*){9}")
_PAIR_LINE = re.compile(r"\d+\t\d+\t[^\t]+")

#: number of a word, number of another word, and the label of the pair; words count from 0
Pair = tuple[int, int, str]


#: words of a sentence, each with the numbers of the units that it consists of
Division = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Labels:
    """Labels of a sentence that is divided into words.

    Attributes:
        words: its words; None if the file does not have them.
        values: task -> label of each word, None for words without a label.
        pairs: labelled pairs of words; in CoNLL-U at most one for each dependent word.
        arcs: the same with all arcs between different words, of which ``zum`` has two.
    """

    words: Optional[tuple[str, ...]]
    values: Mapping[str, tuple[Optional[str], ...]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    arcs: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Sentence:
    """A sentence of a file. Its units are the syntactic words of CoNLL-U, or the file's words.

    Attributes:
        divisions: ways to divide it into words, the finest first; none if the file has no words.
        values: task -> label of each unit, None for units without a label.
        pairs: labelled pairs of units.
        is_parsed: whether each unit has a head, or is the root.
    """

    divisions: tuple[Division, ...] = ()
    values: Mapping[str, tuple[Optional[str], ...]] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    is_parsed: bool = False

    def divide(self, division: Division) -> Labels:
        """Return the labels of the words of a division.

        A word has the label and the pair of its first unit whose head is outside of the word.
        """
        heads = {i: j for i, j, _ in self.pairs}
        word_of = {unit: word for word, (_, units) in enumerate(division) for unit in units}
        leaders = [
            next((unit for unit in units if word_of.get(heads.get(unit, -1)) != word), units[0])
            if units
            else None
            for word, (_, units) in enumerate(division)
        ]
        outer = [one for one in self.pairs if word_of[one[0]] != word_of[one[1]]]
        chosen = set(leaders)
        return Labels(
            tuple(form for form, _ in division),
            {
                name: tuple(None if unit is None else own[unit] for unit in leaders)
                for name, own in self.values.items()
            },
            tuple((word_of[i], word_of[j], label) for i, j, label in outer if i in chosen),
            tuple((word_of[i], word_of[j], label) for i, j, label in outer),
        )


@dataclass(frozen=True)
class LabelFile:
    """Content of a file.

    Attributes:
        path: its path.
        format: a name of ``FORMATS``.
        sentences: its sentences.
        tasks: tasks that it has, of those that were asked for.
    """

    path: Path
    format: str
    sentences: Sequence[Sentence]
    tasks: tuple[str, ...]


def read_labels(
    path: Union[str, Path], tasks: Sequence[str] = (), format: Optional[str] = None
) -> LabelFile:
    """Read a file of labels.

    Args:
        path: file in UTF-8.
        tasks: labels to read. In CoNLL-U ``upos``, ``xpos``, ``deprel``, the name of a feature or
            of an entry of MISC, ``arc`` and ``relation`` (by default ``upos``, ``arc`` and
            ``relation``); in columns the number of a column from 1 (by default the last); of pairs
            ``arc`` and ``relation`` (by default both, if there is more than one label).
        format: a name of ``FORMATS``; by default found by the lines.

    Raises:
        LotteryError: the file cannot be read, is malformed, or lacks a task.
    """
    from fairseq_lottery.analysis.labels import column_files, conllu

    path = Path(path)
    if format not in (None, *FORMATS):
        raise LotteryError(f"format {format!r} is unknown; choose from {', '.join(FORMATS)}")
    lines = label_lines(path)
    readers = {
        "conllu": conllu.read, "columns": column_files.read_columns,
        "pairs": column_files.read_pairs, "alignment": column_files.read_alignment,
    }  # fmt: skip
    is_blank = format is None and not any(line.strip() for line in lines)
    format = format or find_format(lines)
    sentences, names = ([], ()) if is_blank else readers[format](path, lines, tasks)
    if not sentences:
        raise LotteryError(f"{path} has no sentence; give a file of labels")
    return LabelFile(path, format, sentences, names)


def find_format(lines: Iterable[str]) -> str:
    """Return the format that the first lines have: ``conllu``, ``pairs`` or ``columns``."""
    for line, _ in zip(lines, range(_SEARCHED)):
        if _CONLLU_LINE.fullmatch(line):
            return "conllu"
        if _PAIR_LINE.fullmatch(line):
            return "pairs"
        if line.strip() and not line.startswith("#"):
            return "columns"
    return "columns"


def refuse_unknown(path: Path, tasks: Iterable[str], known: Iterable[str]) -> None:
    """Refuse tasks that a file lacks."""
    names = list(known)
    for task in tasks:
        if task not in names:
            raise LotteryError(f"{path} has no label {task!r}; choose from {', '.join(names)}")
