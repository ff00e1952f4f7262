"""Draw clauses: English keeps its order, German moves parts of the verb to the end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fairseq_lottery.demo.lexicon import MODALS, PEOPLE, PLACES, PREPOSITIONS, THINGS, VERBS, Verb
from fairseq_lottery.demo.phrases import PRONOUNS, Phrase, noun_phrase


@dataclass(frozen=True)
class Clause:
    """A clause in both languages, before its position in a sentence is known."""

    english: str
    subject: str
    finite: str
    middle: str
    prefix: str  # separable prefix
    final: str  # infinitive or participle

    def verb_second(self, front: str = "") -> str:
        """Return the German main clause; after a phrase the verb precedes the subject."""
        start = [front, self.finite, self.subject] if front else [self.subject, self.finite]
        return _join(*start, self.middle, self.final or self.prefix)

    def verb_final(self, conjunction: str) -> str:
        """Return the German subordinate clause: the verb last, joined with its prefix."""
        verb = self.finite if self.final else self.prefix + self.finite
        return _join(conjunction, self.subject, self.middle, self.final, verb)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def draw_subject(rng: Random) -> Phrase:
    """Draw a pronoun or a noun phrase of a person."""
    return rng.choice(PRONOUNS) if rng.random() < 0.3 else noun_phrase(rng, PEOPLE, False)


def draw_clause(rng: Random) -> Clause:
    """Draw subject, verb, its complements and possibly a prepositional phrase."""
    subject, verb = draw_subject(rng), rng.choice(VERBS)
    english, german = _complements(rng, verb)
    if verb.frame == "none" or (verb.frame != "put" and rng.random() < 0.25):
        extra_english, extra_german = _adjunct(rng)
        english, german = _join(english, extra_english), _join(german, extra_german)
    english_verb, finite, prefix, final = _verb_group(rng, verb, subject.person)
    return Clause(
        english=_join(subject.english, english_verb, english),
        subject=subject.german["nom"],
        finite=finite,
        middle=german,
        prefix=prefix,
        final=final,
    )


def _complements(rng: Random, verb: Verb) -> tuple[str, str]:
    """Draw English and German objects in the cases of the verb."""
    if verb.frame == "none":
        return "", ""
    if verb.frame in ("dative", "person"):
        person = noun_phrase(rng, PEOPLE, False)
        return person.english, person.german["dat" if verb.frame == "dative" else "acc"]
    thing = noun_phrase(rng, THINGS, True)
    english, german = thing.english, thing.german["acc"]
    if verb.frame == "give":
        person = noun_phrase(rng, PEOPLE, False)
        return f"{english} to {person.english}", f"{person.german['dat']} {german}"
    if verb.frame == "put":
        (to, nach), place = rng.choice(PLACES), noun_phrase(rng, THINGS, True)
        return f"{english} {to} {place.english}", f"{german} {nach} {place.german['acc']}"
    return english, german


def _adjunct(rng: Random) -> tuple[str, str]:
    """Draw a prepositional phrase: places in the dative, others in the preposition's case."""
    if rng.random() < 0.5:
        (english, german), phrase = rng.choice(PLACES), noun_phrase(rng, THINGS, True)
        return f"{english} {phrase.english}", f"{german} {phrase.german['dat']}"
    english, german, case = rng.choice(PREPOSITIONS)
    phrase = noun_phrase(rng, PEOPLE, False)
    return f"{english} {phrase.english}", f"{german} {phrase.german[case]}"


def _verb_group(rng: Random, verb: Verb, person: str) -> tuple[str, str, str, str]:
    """Draw the English verb, and the German finite verb, prefix and final part."""
    kind = rng.random()
    if kind < 0.2:
        english, ich, er, plural = rng.choice(MODALS)
        finite = {"ich": ich, "er": er, "pl": plural}[person]
        return f"{english} {verb.english}", finite, "", verb.prefix + verb.german
    if kind < 0.4:
        have = "has" if person == "er" else "have"
        finite = {"ich": "habe", "er": "hat", "pl": "haben"}[person]
        return f"{have} {verb.english_participle}", finite, "", verb.participle
    finite = {"ich": verb.ich, "er": verb.er, "pl": verb.german}[person]
    english = verb.english_third if person == "er" else verb.english
    return english, finite, verb.prefix, ""
