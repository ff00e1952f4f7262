"""Merge subwords to words: by the marks of sentencepiece or subword-nmt, or by given words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

#: rules that say where a word starts
SUBWORDS = ("sentencepiece", "subword_nmt", "none")
#: sentencepiece's mark of a space (U+2581), and subword-nmt's mark of a word that continues
_SPACE, _CONTINUES = "\u2581", "@@"
_UNKNOWN = "<unk>"


def guess_subwords(symbols: Iterable[str]) -> str:
    """Return the rule of ``SUBWORDS`` that a dictionary's symbols follow."""
    spaces = continues = 0
    for symbol in symbols:
        spaces += symbol.startswith(_SPACE)
        continues += symbol.endswith(_CONTINUES)
    if not spaces and not continues:
        return "none"
    return "sentencepiece" if spaces >= continues else "subword_nmt"


def surface(piece: str, subwords: str) -> str:
    """Return the characters of a piece without its mark."""
    if subwords == "sentencepiece":
        return piece.replace(_SPACE, "")
    if subwords == "subword_nmt" and piece.endswith(_CONTINUES):
        return piece[: -len(_CONTINUES)]
    return piece


def word_starts(pieces: Sequence[str], subwords: str) -> list[int]:
    """Return the number of the first piece of each word, by the marks of the pieces.

    A piece without characters belongs to the next word, or at the end of a sentence to the last
    one. An unknown piece continues the word of sentencepiece that it follows.
    """
    if subwords == "none":
        return list(range(len(pieces)))
    starts = [0] if pieces else []
    filled = bool(pieces) and surface(pieces[0], subwords) != ""
    for number in range(1, len(pieces)):
        if subwords == "sentencepiece":
            is_start = pieces[number].startswith(_SPACE)
        else:
            is_start = not pieces[number - 1].endswith(_CONTINUES)
        if is_start and filled:
            starts.append(number)
            filled = False
        filled = filled or surface(pieces[number], subwords) != ""
    if len(starts) > 1 and not filled:
        starts.pop()
    return starts


def merge(pieces: Sequence[str], starts: Sequence[int], subwords: str) -> list[str]:
    """Return the words whose first pieces are ``starts``."""
    ends = [*starts[1:], len(pieces)]
    return [
        "".join(surface(piece, subwords) for piece in pieces[start:end])
        for start, end in zip(starts, ends)
    ]


def match_words(pieces: Sequence[str], words: Sequence[str], subwords: str) -> Optional[list[int]]:
    """Return the number of the first piece of each given word; None if a piece spans two words.

    An unknown piece, whose characters are not known, stands for one or more.
    """
    texts = [None if piece == _UNKNOWN else surface(piece, subwords) for piece in pieces]
    # number of pieces that the words so far can take -> starts of these words
    ways: dict[int, list[int]] = {0: []}
    for word in words:
        longer: dict[int, list[int]] = {}
        for start, starts in ways.items():
            for end in _ends(texts, start, word):
                longer.setdefault(end, [*starts, start])
        ways = longer
    for end, starts in ways.items():
        if all(text == "" for text in texts[end:]):
            return starts
    return None


def _ends(texts: Sequence[Optional[str]], start: int, word: str) -> Iterator[int]:
    """Yield the ends of runs of pieces from ``start`` that can be a word, the shortest first."""
    pattern, least = "", 0
    for end, text in enumerate(texts[start:], start + 1):
        pattern += ".+" if text is None else re.escape(text)
        least += 1 if text is None else len(text)
        if least > len(word):
            return
        if least and re.fullmatch(pattern, word, re.S):
            yield end
