"""Draw clauses: English keeps its order, German moves parts of the verb to the end."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from fairseq_lottery.demo.lexicon import MODALS, PEOPLE, PLACES, PREPOSITIONS, THINGS, VERBS, Verb
from fairseq_lottery.demo.phrases import PRONOUNS, Phrase, noun_phrase
from fairseq_lottery.demo.words import Word, Words, in_role, preposition


@dataclass(frozen=True)
class Clause:
    """A clause in both languages, before its position in a sentence is known."""

    english: Words
    subject: Words
    finite: Word
    middle: Words
    prefix: Words  # separable prefix
    final: Words  # infinitive or participle

    def verb_second(self, front: Words = ()) -> Words:
        """Return the German main clause; after a phrase the verb precedes the subject."""
        start = (*front, self.finite, *self.subject) if front else (*self.subject, self.finite)
        return (*start, *self.middle, *(self.final or self.prefix))

    def verb_final(self, conjunction: Words) -> Words:
        """Return the German subordinate clause: the verb last, joined with its prefix."""
        prefix = "".join(word.text for word in self.prefix)
        verb = self.finite._replace(text=prefix + self.finite.text)
        return (*conjunction, *self.subject, *self.middle, *self.final, verb)


def draw_subject(rng: Random) -> Phrase:
    """Draw a pronoun or a noun phrase of a person."""
    return rng.choice(PRONOUNS) if rng.random() < 0.3 else noun_phrase(rng, PEOPLE, False)


def draw_clause(rng: Random) -> Clause:
    """Draw subject, verb, its complements and possibly a prepositional phrase."""
    subject, verb = draw_subject(rng), rng.choice(VERBS)
    english, german = _complements(rng, verb)
    if verb.frame == "none" or (verb.frame != "put" and rng.random() < 0.25):
        extra_english, extra_german = _adjunct(rng)
        english, german = (*english, *extra_english), (*german, *extra_german)
    english_verb, finite, prefix, final = _verb_group(rng, verb, subject)
    return Clause(
        english=(*in_role(subject.english, "subject", "nsubj"), *english_verb, *english),
        subject=in_role(subject.german("nom"), "subject", "nsubj"),
        finite=finite,
        middle=german,
        prefix=prefix,
        final=final,
    )


def _complements(rng: Random, verb: Verb) -> tuple[Words, Words]:
    """Draw English and German objects in the cases of the verb."""
    if verb.frame == "none":
        return (), ()
    if verb.frame in ("dative", "person"):
        person = noun_phrase(rng, PEOPLE, False)
        case, relation = ("dat", "iobj") if verb.frame == "dative" else ("acc", "obj")
        return (
            in_role(person.english, "person", "obj"),
            in_role(person.german(case), "person", relation),
        )
    thing = noun_phrase(rng, THINGS, True)
    english = in_role(thing.english, "thing", "obj")
    german = in_role(thing.german("acc"), "thing", "obj")
    if verb.frame == "give":
        person = noun_phrase(rng, PEOPLE, False)
        to_person = in_role((*preposition("to"), *person.english), "person", "obl")
        return (*english, *to_person), (*in_role(person.german("dat"), "person", "iobj"), *german)
    if verb.frame == "put":
        (to, nach), place = rng.choice(PLACES), noun_phrase(rng, THINGS, True)
        to_place = in_role((*preposition(to), *place.english), "place", "obl")
        nach_ort = in_role((*preposition(nach), *place.german("acc")), "place", "obl")
        return (*english, *to_place), (*german, *nach_ort)
    return english, german


def _adjunct(rng: Random) -> tuple[Words, Words]:
    """Draw a prepositional phrase: places in the dative, others in the preposition's case."""
    if rng.random() < 0.5:
        (english, german), phrase = rng.choice(PLACES), noun_phrase(rng, THINGS, True)
        case = "dat"
    else:
        english, german, case = rng.choice(PREPOSITIONS)
        phrase = noun_phrase(rng, PEOPLE, False)
    return (
        in_role((*preposition(english), *phrase.english), "adjunct", "obl"),
        in_role((*preposition(german), *phrase.german(case)), "adjunct", "obl"),
    )


def _verb_group(rng: Random, verb: Verb, subject: Phrase) -> tuple[Words, Word, Words, Words]:
    """Draw the English verb, and the German finite verb, prefix and final part."""
    kind, person = rng.random(), subject.person
    finite_form = f"{subject.agreement}|VerbForm=Fin"
    if kind < 0.2:
        english, ich, er, plural = rng.choice(MODALS)
        finite = {"ich": ich, "er": er, "pl": plural}[person]
        return (
            (_auxiliary(english, "VerbForm=Fin"), *english_verb(verb.english, "VerbForm=Inf")),
            _auxiliary(finite, finite_form),
            (),
            (_verb(verb.prefix + verb.german, "VerbForm=Inf"),),
        )
    if kind < 0.4:
        have = "has" if person == "er" else "have"
        finite = {"ich": "habe", "er": "hat", "pl": "haben"}[person]
        return (
            (
                _auxiliary(have, finite_form),
                *english_verb(verb.english_participle, "VerbForm=Part"),
            ),
            _auxiliary(finite, finite_form),
            (),
            (_verb(verb.participle, "VerbForm=Part"),),
        )
    finite = {"ich": verb.ich, "er": verb.er, "pl": verb.german}[person]
    english = verb.english_third if person == "er" else verb.english
    prefix = (Word(verb.prefix, "ADP", ("verb",), "verb", "compound:prt"),) if verb.prefix else ()
    return english_verb(english, finite_form), _verb(finite, finite_form), prefix, ()


def english_verb(words: str, labels: str) -> Words:
    """Return an English verb and its particle, which expresses the verb with it."""
    verb, *particles = words.split()
    return (
        _verb(verb, labels),
        *(Word(word, "ADP", ("verb",), "verb", "compound:prt") for word in particles),
    )


def _verb(form: str, labels: str) -> Word:
    return Word(form, "VERB", ("verb",), "", "", labels)


def _auxiliary(form: str, labels: str) -> Word:
    return Word(form, "AUX", ("finite",), "verb", "aux", labels)
