"""Merge subwords to words: by the marks of their program, or by given words."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from fairseq_lottery.analysis.recording.gpt2_encoder import SPACE, gpt2_surfaces

#: rules that say where a word starts
SUBWORDS = ("sentencepiece", "subword_nmt", "gpt2", "none")
#: sentencepiece's mark of a space (U+2581), and subword-nmt's mark of a word that continues
_SPACE, _CONTINUES = "\u2581", "@@"
_UNKNOWN = "<unk>"
#: a byte of a character that is not in the vocabulary (``--byte_fallback`` of sentencepiece)
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def guess_subwords(symbols: Iterable[str]) -> str:
    """Return the rule of ``SUBWORDS`` that a dictionary's symbols follow."""
    counts = dict.fromkeys(SUBWORDS, 0)
    for symbol in symbols:
        counts["sentencepiece"] += symbol.startswith(_SPACE)
        counts["gpt2"] += symbol.startswith(SPACE)
        counts["subword_nmt"] += symbol.endswith(_CONTINUES)
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else "none"


def surfaces(pieces: Sequence[str], subwords: str) -> list[str]:
    """Return the characters of each piece without its mark.

    Of the bytes of a character, the last one has the character, and the others have none.
    """
    if subwords == "subword_nmt":
        return [piece.removesuffix(_CONTINUES) for piece in pieces]
    if subwords == "none":
        return list(pieces)
    if subwords == "gpt2":
        return gpt2_surfaces(pieces)
    texts = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece, following in zip(pieces, [*pieces[1:], ""]):
        byte = _BYTE.fullmatch(piece)
        if byte is None:
            texts.append(piece.replace(_SPACE, ""))
        else:
            is_last = _BYTE.fullmatch(following) is None
            texts.append(decoder.decode(bytes.fromhex(byte[1]), final=is_last))
    return texts


def word_starts(pieces: Sequence[str], subwords: str) -> list[int]:
    """Return the number of the first piece of each word, by the marks of the pieces.

    A piece without characters belongs to the next word, or at the end of a sentence to the last
    one. An unknown piece continues the word of sentencepiece or GPT-2 that it follows.
    """
    if subwords == "none":
        return list(range(len(pieces)))
    texts = surfaces(pieces, subwords)
    starts = [0] if pieces else []
    filled = bool(pieces) and texts[0] != ""
    for number in range(1, len(pieces)):
        if subwords == "sentencepiece":
            is_start = pieces[number].startswith(_SPACE)
        elif subwords == "gpt2":
            is_start = pieces[number].startswith(SPACE)
        else:
            is_start = not pieces[number - 1].endswith(_CONTINUES)
        if is_start and filled:
            starts.append(number)
            filled = False
        filled = filled or texts[number] != ""
    if len(starts) > 1 and not filled:
        starts.pop()
    return starts


def merge(pieces: Sequence[str], starts: Sequence[int], subwords: str) -> list[str]:
    """Return the words whose first pieces are ``starts``."""
    texts = surfaces(pieces, subwords)
    return ["".join(texts[start:end]) for start, end in zip(starts, [*starts[1:], len(pieces)])]


def match_words(pieces: Sequence[str], words: Sequence[str], subwords: str) -> Optional[list[int]]:
    """Return the number of the first piece of each given word; None if a piece spans two words.

    An unknown piece, whose characters are not known, stands for one or more.
    """
    texts = [
        None if piece == _UNKNOWN else text
        for piece, text in zip(pieces, surfaces(pieces, subwords))
    ]
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
