"""Change what a clause means: other words in some places, or the same words in other places."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from random import Random

from fairseq_lottery.demo.lexicon import ADJECTIVES, MODIFIERS, PEOPLE, THINGS
from fairseq_lottery.demo.meanings.english import FORMS
from fairseq_lottery.demo.meanings.meaning import PRONOUNS, Clause, NounPhrase

#: words that can take each other's place
PEOPLE_NOUNS = tuple(noun.english for noun in PEOPLE)
THING_NOUNS = tuple(noun.english for noun in THINGS)
_DEFINITE = ("the", "this", "my", "our")
_PLURAL_PRONOUNS = ("we", "they")
_CHOICES = {
    "adjective": tuple(row[0] for row in ADJECTIVES),
    "modifier": tuple(row[0] for row in MODIFIERS),
}

Slot = tuple[str, str]  # role of a noun phrase and its attribute; ("verb", "verb") for the verb


def definite(clause: Clause) -> Clause:
    """Return the clause with ``the`` instead of indefinite articles and numerals.

    So neither a negation nor another noun phrase has scope over a noun phrase.
    """
    changed = {}
    for role, phrase in clause.phrases():
        if not phrase.is_pronoun and phrase.article not in _DEFINITE:
            changed[role] = phrase._replace(article="the")
    return clause.with_phrases(changed)


def slots(clause: Clause) -> list[Slot]:
    """Return the places of the clause's content words: verb, nouns, adjectives, modifiers."""
    places = [("verb", "verb")]
    for role, phrase in clause.phrases():
        places.extend((role, kind) for kind in ("noun", "adjective", "modifier")
                      if getattr(phrase, kind))  # fmt: skip
    return places


def other_word(rng: Random, clause: Clause, slot: Slot) -> Clause:
    """Return the clause with another word of the same kind in one place."""
    role, kind = slot
    if role == "verb":
        frame = FORMS[clause.verb][3]
        verbs = [verb for verb in FORMS if FORMS[verb][3] == frame and verb != clause.verb]
        return clause._replace(verb=rng.choice(verbs))
    phrase = getattr(clause, role)
    word = getattr(phrase, kind)
    choices = _nouns_like(phrase) if kind == "noun" else _CHOICES[kind]
    changed = rng.choice([choice for choice in choices if choice != word])
    return clause.with_phrases({role: phrase._replace(**{kind: changed})})


def other_words(rng: Random, clause: Clause, count: int) -> Clause:
    """Return the clause with other words of the same kinds in so many places."""
    for slot in rng.sample(slots(clause), count):
        clause = other_word(rng, clause, slot)
    return clause


def rearrangements(clause: Clause) -> list[Clause]:
    """Return clauses of the same words that mean something else.

    Two noun phrases of people, or of things, exchange their places; or the adjective of a noun
    phrase goes to another one.
    """
    return [changed for changed in _rearranged(clause) if changed != clause]


def _rearranged(clause: Clause) -> Iterator[Clause]:
    phrases = [(role, phrase) for role, phrase in clause.phrases() if not phrase.is_pronoun]
    for (role, phrase), (other_role, other) in combinations(phrases, 2):
        are_alike = (phrase.noun in PEOPLE_NOUNS) == (other.noun in PEOPLE_NOUNS)
        # "a dances with b" says the same as "b dances with a"
        if are_alike and "with" not in (phrase.preposition, other.preposition):
            yield clause.with_phrases(
                {
                    role: other._replace(preposition=phrase.preposition),
                    other_role: phrase._replace(preposition=other.preposition),
                }
            )
        if phrase.adjective != other.adjective:
            yield clause.with_phrases(
                {
                    role: phrase._replace(adjective=other.adjective),
                    other_role: other._replace(adjective=phrase.adjective),
                }
            )


def _nouns_like(phrase: NounPhrase) -> tuple[str, ...]:
    if phrase.is_pronoun:
        singular = tuple(pronoun for pronoun in PRONOUNS if pronoun not in _PLURAL_PRONOUNS)
        return _PLURAL_PRONOUNS if phrase.plural else singular
    return PEOPLE_NOUNS if phrase.noun in PEOPLE_NOUNS else THING_NOUNS
