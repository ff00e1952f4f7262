"""Merge subwords to words: by the marks of sentencepiece or subword-nmt, or by given words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    With unknown pieces, whose characters are not known, the marks decide and the other words must
    match.
    """
    if _UNKNOWN in pieces:
        starts = word_starts(pieces, subwords)
        merged = merge(pieces, starts, subwords)
        fits = len(merged) == len(words) and all(
            _UNKNOWN in one or one == word for one, word in zip(merged, words)
        )
        return starts if fits else None
    starts, position = [], 0
    for word in words:
        start, text = position, ""
        while position < len(pieces) and len(text) < len(word):
            text += surface(pieces[position], subwords)
            position += 1
        if not word or text != word:
            return None
        starts.append(start)
    while position < len(pieces) and not surface(pieces[position], subwords):
        position += 1
    return starts if position == len(pieces) else None
