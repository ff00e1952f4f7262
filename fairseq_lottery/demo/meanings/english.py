"""Say a clause in English: actively, passively, or with the receiver before the thing."""

from __future__ import annotations

from typing import NamedTuple

from fairseq_lottery.demo.lexicon import SAYING, VERBS
from fairseq_lottery.demo.meanings.meaning import NOUNS, Clause, NounPhrase

#: base form -> (base form, third person, participle, frame)
FORMS = {
    verb.english: (verb.english, verb.english_third, verb.english_participle, verb.frame)
    for verb in VERBS
}
FORMS.update({row[0]: (row[0], row[1], "", "that") for row in SAYING})
#: subject -> object
PRONOUN_OBJECTS = {"I": "me", "he": "him", "she": "her", "we": "us", "they": "them"}
_POSSESSIVES = ("my", "our")


class Token(NamedTuple):
    """A word of a sentence.

    Attributes:
        text: the word, in lower case and without punctuation.
        pos: universal part of speech.
        role: role of its noun phrase, or ``verb``.
        part: what it is in the phrase: ``noun``, ``article``, ``finite``, ``preposition``, ...
    """

    text: str
    pos: str
    role: str
    part: str


Tokens = tuple[Token, ...]


def phrase_tokens(phrase: NounPhrase, role: str, as_object: bool = True) -> Tokens:
    """Return the words of a noun phrase, with its preposition."""
    tokens = [
        Token(word, "NOUN" if word == "front" else "ADP", role, "preposition")
        for word in phrase.preposition.split()
    ]
    if phrase.is_pronoun:
        form = PRONOUN_OBJECTS[phrase.noun] if as_object else phrase.noun
        return (*tokens, Token(form, "PRON", role, "noun"))
    rest = []
    if phrase.adjective:
        rest.append(Token(phrase.adjective, "ADJ", role, "adjective"))
    if phrase.modifier:
        rest.append(Token(phrase.modifier, "NOUN", role, "modifier"))
    rest.append(Token(NOUNS[phrase.noun][phrase.plural], "NOUN", role, "noun"))
    article = phrase.article
    if article:
        if article == "this":
            article = "these" if phrase.plural else "this"
        elif article == "a" and rest[0].text[0] in "aeiou":
            article = "an"
        pos = "PRON" if article in _POSSESSIVES else "DET"
        is_number = article not in ("the", "a", "an", "this", "these", *_POSSESSIVES)
        tokens.append(Token(article, "NUM" if is_number else pos, role, "article"))
    return (*tokens, *rest)


def can_be_passive(clause: Clause) -> bool:
    """Return whether the clause has an object that can become the subject."""
    return clause.thing is not None or clause.person is not None


def can_be_shifted(clause: Clause) -> bool:
    """Return whether the receiver can come before the thing: "gives the man the book"."""
    return FORMS[clause.verb][3] == "give" and " " not in clause.verb


def clause_tokens(clause: Clause, passive: bool = False, shifted: bool = False) -> Tokens:
    """Return the words of a clause.

    Args:
        passive: whether the object becomes the subject, and the subject follows ``by``.
        shifted: whether the receiver comes before the thing; ignored in the passive.
    """
    phrases = dict(clause.phrases())
    top = "subject"
    if passive:
        top = "thing" if "thing" in phrases else "person"
        subject = phrases.pop("subject")
        phrases["subject"] = subject._replace(preposition="by")
    first = phrases.pop(top)
    third = not first.plural and first.noun not in ("I", "we", "they")
    words = [*phrase_tokens(first, top, as_object=False), *_verb_group(clause, third, passive)]
    order = ("thing", "person", "place", "subject", "adjunct")
    if shifted and not passive:
        phrases["person"] = phrases["person"]._replace(preposition="")
        order = ("person", "thing", "adjunct")  # type: ignore[assignment]
    for role in order:
        if role in phrases:
            words.extend(phrase_tokens(phrases[role], role))
    return tuple(words)


def _verb_group(clause: Clause, third: bool, passive: bool) -> list[Token]:
    """Return auxiliaries, negation, verb and particles."""
    base, third_form, participle, _ = FORMS[clause.verb]
    auxiliaries: list[str] = []
    verb = base
    if clause.form == "present":
        if passive:
            auxiliaries, verb = ["is" if third else "are"], participle
        elif clause.negated:
            auxiliaries = ["does" if third else "do"]
        else:
            verb = third_form if third else base
    elif clause.form == "perfect":
        auxiliaries, verb = ["has" if third else "have"], participle
        auxiliaries += ["been"] if passive else []
    else:
        auxiliaries = [clause.form]
        if passive:
            auxiliaries, verb = [clause.form, "be"], participle
    tokens = [Token(word, "AUX", "verb", "auxiliary") for word in auxiliaries]
    if tokens:
        tokens[0] = tokens[0]._replace(part="finite")
    if clause.negated:
        tokens.insert(1, Token("not", "PART", "verb", "negation"))
    first, *particles = verb.split()
    tokens.append(Token(first, "VERB", "verb", "main" if auxiliaries else "finite"))
    return [*tokens, *(Token(word, "ADP", "verb", "particle") for word in particles)]
