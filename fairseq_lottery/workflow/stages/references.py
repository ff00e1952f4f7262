"""Check that references match the targets of a test set line by line."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError

#: fairseq's unknown word, which it escapes in a target
_UNKNOWN = re.compile(r"<*<unk>>*")
#: minimum share of trigrams that a target has in common with its own reference, and with another
#: line's reference if lines have moved. In Multi30k's test set 2 % of the sentences have the first
#: share in common with their neighbour
_OWN, _OTHERS = 1 / 3, 1 / 2
#: maximum number of sentences that are compared with the references of other lines
_SEARCHED = 20


def read_lines(path: Path) -> list[str]:
    """Return lines as fairseq counts them: U+2028 and U+2029 do not end a line."""
    with open(path, encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def refuse_other_references(whose: str, targets: Mapping[int, str], references: list[str]) -> None:
    """Raise an error if references and targets do not match line by line.

    Data are often lowercased, normalised or tokenised, and references are not. Therefore only
    letters and digits are compared, after NFKC and case folding, and an unknown word matches any
    text. A target that equals the reference of another line reveals a lost, doubled or moved
    line. After such a line each sentence would be compared with its neighbour's reference.

    Args:
        whose: source of the targets, for the message.
        targets: number of a sentence -> its target as fairseq-generate prints it.

    Raises:
        LotteryError: lines have moved, or most targets do not resemble their references.
    """
    theirs = [_letters(text) for text in references]
    ours = {
        number: [_letters(piece) for piece in _UNKNOWN.split(text)]
        for number, text in sorted(targets.items())
        if number < len(references)
    }
    compared = [n for n, pieces in ours.items() if any(pieces)]
    differing = [n for n in compared if ours[n] != [theirs[n]]]
    unlike = [n for n in differing if _share(ours[n], theirs[n]) < _OWN]
    moved = _moved(ours, theirs, [n for n in differing if len(ours[n]) == 1], unlike)
    if moved is None and len(unlike) * 2 > len(compared):
        moved = unlike[0]
    if moved is not None:
        raise LotteryError(
            f"{whose} and the references do not match line by line: sentence {moved} is"
            f" {targets[moved][:60]!r}, but its reference is {references[moved][:60]!r}; give the"
            " raw text of the set that was preprocessed"
        )


def _moved(
    ours: Mapping[int, list[str]], theirs: list[str], differing: list[int], unlike: list[int]
) -> Optional[int]:
    """Return the first sentence that matches the reference of another line, or None.

    Args:
        ours: sentence -> letters of its target, split at unknown words.
        theirs: letters of the references.
        differing: sentences without unknown words that differ from their references.
        unlike: sentences that do not resemble their references.
    """
    unmatched = {theirs[n] for n in (*differing, *unlike)}
    equal = [n for n in differing if ours[n][0] in unmatched]
    alike = [
        n
        for n in unlike[:_SEARCHED]
        if any(
            _share(ours[n], theirs[m]) >= _OTHERS
            and _share([theirs[m]], "".join(ours[n])) >= _OTHERS
            for m in unlike
        )
    ]
    return min(equal + alike, default=None)


def _letters(text: str) -> str:
    """Return the letters and digits of a text, without case, accents, entities and spaces."""
    folded = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    decomposed = unicodedata.normalize("NFKD", folded)
    # a line of only punctuation keeps its punctuation
    return "".join(filter(str.isalnum, decomposed)) or "".join(folded.split())


def _share(pieces: list[str], text: str) -> float:
    """Return the share of the trigrams of ``pieces`` that are in ``text``."""
    grams = {gram for piece in pieces for gram in _trigrams(piece)}
    return sum(gram in text for gram in grams) / max(1, len(grams))


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(max(1, len(text) - 2))} if text else set()
