"""One sentence as it goes into the subwords."""

from __future__ import annotations

from functools import cache
from typing import Any

import regex

INVISIBLE = regex.compile(r"\p{Cf}+")  # soft hyphens, zero width spaces and joiners, marks
CONTROL = regex.compile(r"[\p{C}\p{Zl}\p{Zp}]+")


def normalise(sentence: str, language: str) -> str:
    """Moses' punctuation, no character that does not print, and single plain spaces.

    Moses' rules for numbers are left out: they put a comma where French and German sources have
    a narrow space between thousands. What is invisible inside a word goes, what separates words
    becomes a space. Every kind of white space becomes a plain one, because fairseq would take it
    for the border of a subword.
    """
    sentence = CONTROL.sub(" ", INVISIBLE.sub("", sentence))
    return " ".join(_punctuation(language).normalize(sentence).split())


@cache
def _punctuation(language: str) -> Any:
    from sacremoses import MosesPunctNormalizer

    return MosesPunctNormalizer(lang=language, norm_numbers=False)
