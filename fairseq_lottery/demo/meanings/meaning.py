"""``Sentence``: what a sentence means, without the order and the forms of its words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import NamedTuple, Optional

from fairseq_lottery.demo.language import draw_sentence
from fairseq_lottery.demo.lexicon import PEOPLE, SAYING, THINGS, VERBS
from fairseq_lottery.demo.words import Word, Words

#: singular of each noun -> both numbers
NOUNS = {noun.english: (noun.english, noun.english_plural) for noun in PEOPLE + THINGS}
PRONOUNS = ("I", "he", "she", "we", "they")
#: roles of the noun phrases of a clause
ROLES = ("subject", "person", "thing", "place", "adjunct")

_SINGULAR = {form: singular for singular, forms in NOUNS.items() for form in forms}
_FIRST_FORMS = {
    form: verb.english
    for verb in VERBS
    for form in (verb.english, verb.english_third, verb.english_participle)
}
_FIRST_FORMS.update({form: row[0] for row in SAYING for form in row[:2]})
_ARTICLES = {"an": "a", "these": "this"}


class NounPhrase(NamedTuple):
    """A pronoun, or a noun with its article, number and attributes.

    Attributes:
        noun: the English singular, or the pronoun.
        plural: whether a verb agrees with it as a plural.
        article: ``the``, ``a``, ``this``, ``my``, ``our``, a numeral, or nothing.
        adjective: its adjective, or nothing.
        modifier: the first part of a compound, or nothing.
        preposition: the preposition before it, or nothing.
    """

    noun: str
    plural: bool
    article: str = ""
    adjective: str = ""
    modifier: str = ""
    preposition: str = ""

    @property
    def is_pronoun(self) -> bool:
        """Return whether it is a pronoun."""
        return self.noun in PRONOUNS


class Clause(NamedTuple):
    """A verb with its noun phrases.

    Attributes:
        subject: who acts.
        verb: the English base form, such as ``pick up``.
        form: ``present``, ``perfect``, or the modal.
        person: the person whom the verb concerns, or who receives the thing.
        thing: the thing that the verb concerns.
        place: where the thing is put.
        adjunct: a place or companion that the verb does not require.
        negated: whether the clause is denied.
    """

    subject: NounPhrase
    verb: str
    form: str
    person: Optional[NounPhrase] = None
    thing: Optional[NounPhrase] = None
    place: Optional[NounPhrase] = None
    adjunct: Optional[NounPhrase] = None
    negated: bool = False

    def phrases(self) -> Iterator[tuple[str, NounPhrase]]:
        """Yield role and noun phrase, the subject first."""
        for role in ROLES:
            phrase = getattr(self, role)
            if phrase is not None:
                yield role, phrase

    def with_phrases(self, phrases: Mapping[str, Optional[NounPhrase]]) -> Clause:
        """Return the clause with other noun phrases in some roles."""
        return self._replace(**phrases)  # type: ignore[arg-type]


class Sentence(NamedTuple):
    """A main clause, possibly with an adverb or a subordinate clause.

    Attributes:
        main: the main clause.
        adverb: its adverb, or nothing.
        conjunction: the conjunction of the subordinate clause, or nothing.
        sub: the subordinate clause.
    """

    main: Clause
    adverb: str = ""
    conjunction: str = ""
    sub: Optional[Clause] = None


def meaning_of(english: Words) -> Sentence:
    """Return the meaning of a labelled English sentence of the grammar."""
    parts: dict[str, list[Word]] = defaultdict(list)  # meaning of a word -> words with it
    for number, word in enumerate(english):
        bare = word.text.rstrip(".,")
        if number == 0 and bare != "I":
            bare = bare[0].lower() + bare[1:]
        parts[word.meanings[0]].append(word._replace(text=bare))
    has_sub = "sub.verb" in parts
    return Sentence(
        main=_clause(parts, "main"),
        adverb=_text(parts, "main.adverb"),
        conjunction=_text(parts, "sub.conjunction"),
        sub=_clause(parts, "sub") if has_sub else None,
    )


def verbs_of(sentence: Sentence) -> tuple[str, ...]:
    """Return the base forms of the verbs."""
    return tuple(clause.verb for clause in (sentence.main, sentence.sub) if clause is not None)


def draw(rng: Random, accepts: Callable[[Sentence], bool] = lambda _: True) -> Sentence:
    """Draw meanings from the grammar until one is accepted."""
    while True:
        meaning = meaning_of(draw_sentence(rng)[0])
        if accepts(meaning):
            return meaning


def _text(parts: dict[str, list[Word]], meaning: str) -> str:
    return " ".join(word.text for word in parts.get(meaning, ()))


def _clause(parts: dict[str, list[Word]], clause: str) -> Clause:
    phrases = {role: _phrase(parts, f"{clause}.{role}") for role in ROLES}
    subject = phrases["subject"]
    assert subject is not None
    finite = _text(parts, f"{clause}.finite")
    form = "perfect" if finite in ("has", "have") else finite or "present"
    verb = _FIRST_FORMS[_text(parts, f"{clause}.verb")]
    return Clause(subject, verb, form).with_phrases(phrases)


def _phrase(parts: dict[str, list[Word]], role: str) -> Optional[NounPhrase]:
    head = parts.get(f"{role}.noun")
    if head is None:
        return None
    article = _text(parts, f"{role}.article")
    noun = head[0].text
    return NounPhrase(
        noun=noun if noun in PRONOUNS else _SINGULAR[noun],
        plural="Number=Plur" in head[0].features,
        article=_ARTICLES.get(article, article),
        adjective=_text(parts, f"{role}.adjective"),
        modifier=_text(parts, f"{role}.modifier"),
        preposition=_text(parts, f"{role}.case"),
    )
