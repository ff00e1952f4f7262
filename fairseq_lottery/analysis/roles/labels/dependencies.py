"""Read dependency relations from CoNLL-U, and map them to the words of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.roles.labels.label_lines import (
    label_lines,
    select_recorded,
    whole_number,
)
from fairseq_lottery.errors import LotteryError

#: relations of Pande et al. and Voita et al. ``obj`` is the name of ``dobj`` in UD 2
RELATIONS = ("nsubj", "obj", "dobj", "amod", "advmod")
_UNKNOWN = "<unk>"


@dataclass(frozen=True)
class Parse:
    """Dependency tree of a sentence.

    Attributes:
        forms: surface tokens; a multiword token such as ``zum`` is one.
        surface: number of the surface token of each syntactic word, from 0.
        heads: number of the head of each syntactic word, from 1; 0 for the root.
        relations: relation of each syntactic word to its head.
    """

    forms: tuple[str, ...]
    surface: tuple[int, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True)
class Arc:
    """A relation between two words of a recording.

    Attributes:
        dependent, head: numbers of the words in the sentence, from 0.
        relation: its name in the file.
    """

    dependent: int
    head: int
    relation: str

    def has_relation(self, name: str) -> bool:
        """Return whether the relation is ``name``, or a subtype of it such as ``nsubj:pass``."""
        return self.relation == name or self.relation.partition(":")[0] == name


def read_parses(path: Union[str, Path]) -> list[Parse]:
    """Read the columns ID, FORM, HEAD and DEPREL of a CoNLL-U file.

    Raises:
        LotteryError: the file cannot be read or is malformed.
    """
    return [_parse(path, number, lines) for number, lines in _sentences(label_lines(path))]


def _sentences(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line, from 1, and the token lines of each sentence."""
    start, tokens = 1, list[str]()
    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("#"):
            continue
        if line.strip():
            start = start if tokens else number
            tokens.append(line)
        elif tokens:
            yield start, tokens
            tokens = []


def _parse(path: Union[str, Path], start: int, lines: Sequence[str]) -> Parse:
    forms, surface, heads, relations = list[str](), list[int](), list[int](), list[str]()
    last = 0  # last word of the multiword token
    for line in lines:
        columns = line.split("\t")
        first, dash, end = columns[0].partition("-")
        if len(columns) != 10 or not columns[1]:
            raise _malformed(path, start, f"a line has {len(columns)} columns, expected 10")
        if "." in first:  # an empty node of the enhanced graph
            continue
        number, head = whole_number(first), whole_number(columns[6])
        stop = whole_number(end) if dash else number
        if number is None or stop is None:
            raise _malformed(path, start, f"ID {columns[0][:40]!r} is not a number or range")
        if dash:
            forms.append(columns[1])
            last = stop
            continue
        if number != len(heads) + 1:
            raise _malformed(path, start, f"ID {first} is out of order, expected {len(heads) + 1}")
        if number > last:
            forms.append(columns[1])
        if head is None:
            raise _malformed(path, start, f"HEAD {columns[6][:40]!r} is not the ID of a word")
        surface.append(len(forms) - 1)
        heads.append(head)
        relations.append(columns[7])
    if max(heads, default=0) > len(heads):
        raise _malformed(path, start, f"HEAD {max(heads)} is not the ID of a word")
    return Parse(tuple(forms), tuple(surface), tuple(heads), tuple(relations))


def _malformed(path: Union[str, Path], start: int, problem: str) -> LotteryError:
    return LotteryError(f"{path} is not CoNLL-U: {problem} (sentence at line {start})")


def arcs(parse: Parse, words: Sequence[str]) -> Optional[list[Arc]]:
    """Return the relations between different words; None if the tokens are not those words.

    A word may consist of several tokens, as ``aunt.`` of ``aunt`` and ``.``. If words and tokens
    are equally many, a word with ``<unk>`` matches any token.
    """
    places = _places(parse.forms, words)
    if places is None:
        return None
    of = [places[token] for token in parse.surface]
    return [
        Arc(of[number], of[head - 1], relation)
        for number, (head, relation) in enumerate(zip(parse.heads, parse.relations))
        if head and of[number] != of[head - 1]
    ]


def _places(forms: Sequence[str], words: Sequence[str]) -> Optional[list[int]]:
    """Return the number of the word that each token is in."""
    if len(forms) == len(words):
        fits = all(_UNKNOWN in word or form == word for form, word in zip(forms, words))
        return list(range(len(forms))) if fits else None
    places: list[int] = []
    for number, word in enumerate(words):
        text = ""
        while len(text) < len(word) and len(places) < len(forms):
            text += forms[len(places)].replace(" ", "")
            places.append(number)
        if text != word:
            return None
    return places if len(places) == len(forms) else None


def read_arcs(path: Union[str, Path], recording: Recording, side: str) -> list[list[Arc]]:
    """Return the relations between the words of each recorded sentence.

    Args:
        path: CoNLL-U file with all sentences of the subset, or with the recorded ones.
        side: ``source`` or ``target``.

    Raises:
        LotteryError: the file cannot be read, or its sentences or tokens do not match the words.
    """
    parses = select_recorded(path, read_parses(path), recording)
    found = []
    for number, (parse, words) in enumerate(zip(parses, recording.words(side))):
        matched = arcs(parse, words)
        if matched is None:
            sentence = recording.record.sentences[number]
            raise LotteryError(
                f"{path} does not match the {side} words of sentence {sentence + 1}: expected"
                f" {_start(words)}, found {_start(parse.forms)}; record with --{side}-words, or"
                " parse the text that was recorded"
            )
        found.append(matched)
    return found


def _start(words: Sequence[str]) -> str:
    return repr(" ".join(words[:8]) + (" ..." if len(words) > 8 else ""))


def select_relations(arcs_of: Iterable[Sequence[Arc]], names: Sequence[str]) -> list[str]:
    """Return the named relations that occur; by default those of ``RELATIONS``.

    Raises:
        LotteryError: a named relation does not occur, or none of ``RELATIONS``.
    """
    existing = {arc.relation for sentence in arcs_of for arc in sentence}
    bases = existing | {name.partition(":")[0] for name in existing}
    chosen = [name for name in names or RELATIONS if name in bases]
    missing = [name for name in names if name not in bases]
    if missing or not chosen:
        shown = ", ".join(sorted(bases)[:20]) or "none"
        raise LotteryError(
            f"no arc has the relation {', '.join(missing or RELATIONS)}; choose --relations from"
            f" {shown}"
        )
    return chosen
