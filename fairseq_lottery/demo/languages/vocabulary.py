"""The words of a language: roots and affixes of its family, with the sounds of the language.

They do not depend on the demo's seed: the languages are always the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random

from fairseq_lottery.demo.languages.language_table import FAMILIES, LANGUAGES
from fairseq_lottery.demo.lexicon import (
    ADJECTIVES,
    ADVERBS,
    CONJUNCTIONS,
    MODALS,
    MODIFIERS,
    PLACES,
    PREPOSITIONS,
)
from fairseq_lottery.demo.meanings.english import FORMS
from fairseq_lottery.demo.meanings.meaning import NOUNS, PRONOUNS
from fairseq_lottery.demo.phrases import english_numeral

ARTICLES = ("the", "a", "this", "my", "our")
#: affixes: number and case of nouns, person of verbs, the perfect
AFFIXES = ("plural", "object", "receiver", "first", "third", "many", "perfect")
#: words of one syllable
_SHORT = (*ARTICLES, *PRONOUNS, "not", "to", "that")
#: numerals that the others are composed of
_SIMPLE_NUMERALS = tuple(english_numeral(number) for number in (*range(2, 20), *range(20, 100, 10)))


def words(code: str) -> dict[str, str]:
    """Return English word -> word of the language."""
    roots = _roots(LANGUAGES[code].family)
    return {meaning: _sounded(code, root) for meaning, root in roots.items()}


def affixes(code: str) -> dict[str, str]:
    """Return affix -> its letters."""
    return {name: _sounded(code, affix) for name, affix in _affixes(LANGUAGES[code].family).items()}


def _sounded(code: str, word: str) -> str:
    sounds = dict(LANGUAGES[code].sounds)
    return "".join(sounds.get(letter, letter) for letter in word)


def _meanings() -> Iterator[str]:
    """Yield the English words that the language has a root for."""
    yield from _SHORT
    yield from (row[0] for row in (*MODALS, *CONJUNCTIONS, *PREPOSITIONS, *PLACES, *ADVERBS))
    yield from (*NOUNS, *(row[0] for row in (*ADJECTIVES, *MODIFIERS)), *FORMS, *_SIMPLE_NUMERALS)
    yield "one"


@cache
def _roots(family: str) -> dict[str, str]:
    """Return English word -> root; all roots are different, and no root begins another one."""
    rng = Random(f"demo|roots|{family}")
    roots: dict[str, str] = {}
    for meaning in _meanings():
        while True:
            syllables = 1 if meaning in _SHORT else 2
            root = "".join(_syllable(rng, family) for _ in range(syllables))
            root += rng.choice(FAMILIES[family].consonants)
            if not any(root.startswith(one) or one.startswith(root) for one in roots.values()):
                roots[meaning] = root
                break
    return roots


@cache
def _affixes(family: str) -> dict[str, str]:
    rng = Random(f"demo|affixes|{family}")
    drawn: dict[str, str] = {}
    for name in AFFIXES:
        while True:
            syllable = _syllable(rng, family)
            affix = syllable if FAMILIES[family].has_prefixes else syllable[::-1]
            if affix not in drawn.values():
                drawn[name] = affix
                break
    return drawn


def _syllable(rng: Random, family: str) -> str:
    return rng.choice(FAMILIES[family].consonants) + rng.choice(FAMILIES[family].vowels)
