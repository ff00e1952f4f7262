"""Sentences with a marked word: its part of speech, or what the marked person does."""

from __future__ import annotations

from random import Random

from fairseq_lottery.demo.encoders.word_classes import WORDS
from fairseq_lottery.demo.meanings.changes import PEOPLE_NOUNS
from fairseq_lottery.demo.meanings.english import FORMS
from fairseq_lottery.demo.meanings.meaning import Clause, draw
from fairseq_lottery.demo.meanings.styles import clauses_in_order, draw_style, written

CLASSES = tuple(WORDS)
ROLES = ("agent", "patient", "receiver")


def part_of_speech(rng: Random, label: str, words: frozenset[str]) -> str:
    """Draw a sentence in which one of these words is marked, with this part of speech."""
    while True:
        sentence = draw(rng)
        clauses = clauses_in_order(sentence, draw_style(rng, sentence))
        tokens = [token for clause in clauses for token in clause]
        places = [
            place
            for place, token in enumerate(tokens)
            if token.pos == label and token.text in words and token.text != "front"
        ]
        if places:
            return written(clauses, rng.choice(places))


def role(rng: Random, label: str) -> str:
    """Draw a clause in which the noun of a person in this role is marked."""
    while True:
        sentence = draw(rng, lambda drawn: drawn.sub is None)
        phrase_role = _phrase_role(sentence.main, label)
        phrase = getattr(sentence.main, phrase_role) if phrase_role else None
        if phrase is None or phrase.noun not in PEOPLE_NOUNS:
            continue
        clauses = clauses_in_order(sentence, draw_style(rng, sentence))
        (place,) = (
            number
            for number, token in enumerate(clauses[0])
            if (token.role, token.part) == (phrase_role, "noun")
        )
        return written(clauses, place)


def _phrase_role(clause: Clause, label: str) -> str:
    """Return the role of the noun phrase with this label in the clause; "" without one."""
    frame = FORMS[clause.verb][3]
    if frame not in ("person", "dative", "give"):
        return ""
    if label == "agent":
        return "subject"
    return "person" if (label == "receiver") is (frame == "give") else ""
