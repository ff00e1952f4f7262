"""References and the targets of a test set: whether they are the same sentences."""

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
#: share of its trigrams from which a target may be a version of its reference (in Multi30k's test
#: set 2 % of the sentences share so many with their neighbour), and of another line's reference
_OWN, _OTHERS = 1 / 3, 1 / 2
#: sentences that are looked for among all references
_SEARCHED = 20


def read_lines(path: Path) -> list[str]:
    """Read lines as fairseq counts them: U+2028 and its like are part of a sentence."""
    with open(path, encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def refuse_other_references(whose: str, targets: Mapping[int, str], references: list[str]) -> None:
    """Refuse references whose lines have moved, or that are another text than the targets.

    Data are often lowercased, normalised or tokenised, and references are not. So letters and
    digits are compared after NFKC and case folding, and an unknown word counts as any. A lost,
    doubled or moved line shows in a target that is the reference of another line: then every
    sentence behind it would be compared with its neighbour's reference.

    Args:
        whose: where the targets are from, for the message.
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
    judged = [n for n, pieces in ours.items() if any(pieces)]
    differing = [n for n in judged if ours[n] != [theirs[n]]]
    strange = [n for n in differing if _share(ours[n], theirs[n]) < _OWN]
    moved = _moved(ours, theirs, [n for n in differing if len(ours[n]) == 1], strange)
    if moved is None and len(strange) * 2 > len(judged):
        moved = strange[0]
    if moved is not None:
        raise LotteryError(
            f"{whose} and the references do not match line by line: sentence {moved} is"
            f" {targets[moved][:60]!r} there and {references[moved][:60]!r} here; give the raw"
            " text of the set that was preprocessed"
        )


def _moved(
    ours: Mapping[int, list[str]], theirs: list[str], differing: list[int], strange: list[int]
) -> Optional[int]:
    """Return the first sentence that has the reference of another line, or None.

    Args:
        differing: sentences without unknown words that are not their references.
        strange: sentences that do not resemble their references.
    """
    lost = {theirs[n] for n in (*differing, *strange)}
    equal = [n for n in differing if ours[n][0] in lost]
    alike = [
        n
        for n in strange[:_SEARCHED]
        if any(
            _share(ours[n], theirs[m]) >= _OTHERS
            and _share([theirs[m]], "".join(ours[n])) >= _OTHERS
            for m in strange
        )
    ]
    return min(equal + alike, default=None)


def _letters(text: str) -> str:
    """Letters and digits of a text in one form, without case, accents, entities and spaces."""
    folded = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    decomposed = unicodedata.normalize("NFKD", folded)
    # a line of punctuation alone keeps it
    return "".join(filter(str.isalnum, decomposed)) or "".join(folded.split())


def _share(pieces: list[str], text: str) -> float:
    """Return the share of the trigrams of ``pieces`` that are in ``text``."""
    grams = {gram for piece in pieces for gram in _trigrams(piece)}
    return sum(gram in text for gram in grams) / max(1, len(grams))


def _trigrams(text: str) -> set[str]:
    return {text[i : i + 3] for i in range(max(1, len(text) - 2))} if text else set()
