"""Break the grammar of an English sentence in one place, in word order or in agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from random import Random

from fairseq_lottery.demo.meanings.english import FORMS, Token, Tokens
from fairseq_lottery.demo.meanings.meaning import NOUNS

#: finite forms that agree with the wrong subject
_FLIPPED = {"is": "are", "has": "have", "does": "do"}
_FLIPPED.update({base.split()[0]: third.split()[0] for base, third, *_ in FORMS.values()})
_FLIPPED.update({flipped: form for form, flipped in _FLIPPED.items()})
_OTHER_ARTICLES = {"this": "these", "these": "this", "a": "an", "an": "a"}
_OTHER_NUMBERS = {form: other for pair in NOUNS.values() for form, other in (pair, reversed(pair))}
#: "put" is also a past tense and a participle: no wrong form of it is surely wrong
AMBIGUOUS_VERB = "put"


def breaks_of(clause: Tokens) -> list[Tokens]:
    """Return all ungrammatical clauses that differ from a clause in one place."""
    return [changed for rule in _RULES for changed in rule(clause)]


def broken(rng: Random, clauses: list[Tokens]) -> list[Tokens]:
    """Return clauses of which one is ungrammatical; each rule is equally likely."""
    choices = [
        (place, found)
        for place, clause in enumerate(clauses)
        for found in (list(rule(clause)) for rule in _RULES)
        if found
    ]
    place, found = rng.choice(choices)
    return [*clauses[:place], rng.choice(found), *clauses[place + 1 :]]


def _phrases(clause: Tokens) -> Iterator[tuple[int, int]]:
    """Yield start and end of each noun phrase, without the preposition."""
    start = 0
    for role, group in groupby(clause, key=lambda token: token.role):
        tokens = list(group)
        end = start + len(tokens)
        if role not in ("verb", "adverb", "conjunction"):
            prepositions = sum(token.part == "preposition" for token in tokens)
            yield start + prepositions, end
        start = end


def _is_followed_by_phrase(clause: Tokens, end: int) -> bool:
    """Return whether a noun phrase begins at ``end``: a moved word could belong to it."""
    return end < len(clause) and any(start == end for start, _ in _phrases(clause))


def _moved(clause: Tokens, start: int, end: int, place: int) -> Tokens:
    """Return the clause with the words from ``start`` to ``end`` before the word at ``place``."""
    block = clause[start:end]
    if place < start:
        return (*clause[:place], *block, *clause[place:start], *clause[end:])
    return (*clause[:start], *clause[end:place], *block, *clause[place:])


def _noun_before_article(clause: Tokens) -> Iterator[Tokens]:
    for start, end in _phrases(clause):
        if clause[start].part == "article" and not _is_followed_by_phrase(clause, end):
            yield _moved(clause, end - 1, end, start)


def _adjective_after_noun(clause: Tokens) -> Iterator[Tokens]:
    for start, end in _phrases(clause):
        for place in range(start, end):
            if clause[place].part == "adjective" and not _is_followed_by_phrase(clause, end):
                yield _moved(clause, place, place + 1, end)


def _preposition_after_phrase(clause: Tokens) -> Iterator[Tokens]:
    for start, end in _phrases(clause):
        first = start
        while first and clause[first - 1].part == "preposition":
            first -= 1
        if first < start:
            yield _moved(clause, first, start, end)


def _verb_before_auxiliary(clause: Tokens) -> Iterator[Tokens]:
    places = [number for number, token in enumerate(clause) if token.part == "finite"]
    mains = [number for number, token in enumerate(clause) if token.part == "main"]
    if mains:
        yield _moved(clause, mains[0], mains[0] + 1, places[0])


def _wrong_agreement(clause: Tokens) -> Iterator[Tokens]:
    for number, token in enumerate(clause):
        if token.part == "finite" and token.text in _FLIPPED and token.text != AMBIGUOUS_VERB:
            yield _with(clause, number, _FLIPPED[token.text])


def _wrong_number(clause: Tokens) -> Iterator[Tokens]:
    for start, end in _phrases(clause):
        article, noun = clause[start], clause[end - 1]
        if article.text in ("a", "an", "this", "these") or article.pos == "NUM":
            yield _with(clause, end - 1, _OTHER_NUMBERS[noun.text])
        if article.text in _OTHER_ARTICLES:
            yield _with(clause, start, _OTHER_ARTICLES[article.text])


def _with(clause: Tokens, number: int, text: str) -> Tokens:
    changed: Token = clause[number]._replace(text=text)
    return (*clause[:number], changed, *clause[number + 1 :])


_RULES: tuple[Callable[[Tokens], Iterator[Tokens]], ...] = (
    _noun_before_article,
    _adjective_after_noun,
    _preposition_after_phrase,
    _verb_before_auxiliary,
    _wrong_agreement,
    _wrong_number,
)
