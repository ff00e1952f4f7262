"""The words of each part of speech, and the half of them that only evaluation marks."""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.lexicon import (
    ADJECTIVES,
    ADVERBS,
    CONJUNCTIONS,
    MODALS,
    MODIFIERS,
    PLACES,
    PREPOSITIONS,
)
from fairseq_lottery.demo.meanings.english import FORMS, PRONOUN_OBJECTS
from fairseq_lottery.demo.meanings.meaning import NOUNS
from fairseq_lottery.demo.phrases import english_numeral

Forms = tuple[str, ...]  # the forms of one word


def _verbs() -> list[Forms]:
    verbs: dict[str, set[str]] = {}
    for *forms, _ in FORMS.values():
        first = [form.split()[0] for form in forms if form]
        verbs.setdefault(first[0], set()).update(first)
    return [tuple(sorted(forms)) for forms in verbs.values()]


def _adpositions() -> list[Forms]:
    particles = {word for verb in FORMS for word in verb.split()[1:]}
    prepositions = {row[0] for row in (*PREPOSITIONS, *PLACES) if " " not in row[0]}
    return [(word,) for word in sorted({*particles, *prepositions, "by", "in", "of", "to"})]


#: part of speech -> its words, with their forms
WORDS: dict[str, list[Forms]] = {
    "ADJ": [(row[0],) for row in ADJECTIVES],
    "ADP": _adpositions(),
    "ADV": [(row[0],) for row in ADVERBS],
    "AUX": [*((row[0],) for row in MODALS), ("has", "have"), ("are", "be", "been", "is")],
    "DET": [("the",), ("a", "an"), ("this", "these")],
    "NOUN": [*NOUNS.values(), *((row[0],) for row in MODIFIERS)],
    "NUM": [(english_numeral(number),) for number in range(2, 100)],
    "PRON": [*PRONOUN_OBJECTS.items(), ("my",), ("our",)],
    "SCONJ": [*((row[0],) for row in CONJUNCTIONS), ("that",)],
    "VERB": _verbs(),
}


def held_out_words(seed: int) -> frozenset[str]:
    """Return the forms of half of the words of each part of speech, rounded down."""
    rng = Random(f"demo|held-out words|{seed}")
    return frozenset(
        form
        for words in WORDS.values()
        for forms in rng.sample(words, len(words) // 2)
        for form in forms
    )
