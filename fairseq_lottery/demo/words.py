"""``Word``: a word of a sentence with its labels; the grammar composes sentences of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

#: gender of a noun -> value in CoNLL-U
GENDERS = {"m": "Masc", "f": "Fem", "n": "Neut"}


class Word(NamedTuple):
    """A word and its labels.

    Attributes:
        text: the word as in the text, with punctuation that follows it.
        pos: universal part of speech.
        meanings: what it expresses, such as ``noun``, or ``main.object.noun`` in a sentence. Words
            of both languages with a common meaning are translations of each other.
        head: a meaning of its head; the head is the first word that has this meaning first.
        relation: universal relation to its head; empty until the role of its phrase is known.
        features: morphological features as in CoNLL-U.
        clause: ``main`` or ``sub``.
    """

    text: str
    pos: str
    meanings: tuple[str, ...]
    head: str
    relation: str
    features: str = ""
    clause: str = ""


Words = tuple[Word, ...]


def text(words: Iterable[Word]) -> str:
    """Return the words separated by spaces."""
    return " ".join([word.text for word in words])


@cache
def features(**values: str) -> str:
    """Return features in the order of CoNLL-U."""
    return "|".join(f"{name}={values[name]}" for name in sorted(values))


def in_role(words: Words, role: str, relation: str) -> Words:
    """Return a phrase as a subject, object or adjunct of its clause's verb."""
    return tuple(
        Word(
            form,
            pos,
            tuple([f"{role}.{meaning}" for meaning in meanings]),
            f"{role}.{head}" if inner else "verb",
            inner or relation,
            labels,
        )
        for form, pos, meanings, head, inner, labels, _ in words
    )


def in_clause(words: Words, clause: str, relation: str) -> Words:
    """Return the words of a clause as a part of a sentence.

    Args:
        clause: ``main`` or ``sub``.
        relation: relation of its verb: ``root``, or that to the verb of the main clause.
    """
    top = "" if relation == "root" else "main.verb"
    return tuple(
        Word(
            form,
            pos,
            tuple([f"{clause}.{meaning}" for meaning in meanings]),
            f"{clause}.{head}" if inner else top,
            inner or relation,
            labels,
            clause,
        )
        for form, pos, meanings, head, inner, labels, _ in words
    )


def preposition(words: str) -> Words:
    """Return a preposition of one or several words, before its phrase."""
    first, *rest = words.split()
    return (
        Word(first, "ADP", ("case",), "noun", "case"),
        *(
            Word(word, "NOUN" if word == "front" else "ADP", ("case",), "case", "fixed")
            for word in rest
        ),
    )
