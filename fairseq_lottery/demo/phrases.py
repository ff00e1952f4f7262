"""Draw noun phrases: articles and adjectives agree in gender, number and case.

Numerals are words; German puts the unit before the ten: fünfundzwanzig.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from fairseq_lottery.demo.lexicon import ADJECTIVES, MODIFIERS, Noun
from fairseq_lottery.demo.words import GENDERS, Word, Words, features

# Rows are cases; columns are masculine, feminine, neuter, plural.
_COLUMNS = {"m": 0, "f": 1, "n": 2, "pl": 3}
_DER = {
    "nom": ("der", "die", "das", "die"),
    "acc": ("den", "die", "das", "die"),
    "dat": ("dem", "der", "dem", "den"),
}
_DIESER = {
    "nom": ("er", "e", "es", "e"),
    "acc": ("en", "e", "es", "e"),
    "dat": ("em", "er", "em", "en"),
}
_EIN = {
    "nom": ("", "e", "", "e"),
    "acc": ("en", "e", "", "e"),
    "dat": ("em", "er", "em", "en"),
}
# Endings of adjectives after der and dieser, after ein and mein, and without an article.
_WEAK = {
    "nom": ("e", "e", "e", "en"),
    "acc": ("en", "e", "e", "en"),
    "dat": ("en", "en", "en", "en"),
}
_MIXED = {
    "nom": ("er", "e", "es", "en"),
    "acc": ("en", "e", "es", "en"),
    "dat": ("en", "en", "en", "en"),
}
_STRONG_PLURAL = {"nom": "e", "acc": "e", "dat": "en"}

_SINGULAR = (("the", "der"), ("a", "ein"), ("this", "dies"), ("my", "mein"), ("our", "unser"))
_POSSESSIVES = ("my", "our")
_PLURAL = (("the", "der"), ("these", "dies"), ("my", "mein"), ("our", "unser"), ("", ""))

_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_ENGLISH_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_GERMAN = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
_GERMAN_TENS = "_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


@dataclass(frozen=True)
class Phrase:
    """A subject or object: English, German by case, and person.

    Attributes:
        english: its English words.
        german: returns its German words in a case: ``nom``, ``acc`` or ``dat``.
        person: ``ich``, ``er`` or ``pl``.
        agreement: number and person of a verb that agrees with it, as in CoNLL-U.
    """

    english: Words
    german: Callable[[str], Words]
    person: str
    agreement: str


def _pronoun(english: str, german: str, person: str, number: str, verb: str) -> Phrase:
    labels = features(Case="Nom", Number=number, Person=person)
    words = [Word(form, "PRON", ("noun",), "", "", labels) for form in (english, german)]
    agreement = features(Number=number, Person=person)
    return Phrase((words[0],), lambda case: (words[1],), verb, agreement)


PRONOUNS = (
    _pronoun("I", "ich", "1", "Sing", "ich"),
    _pronoun("he", "er", "3", "Sing", "er"),
    _pronoun("she", "sie", "3", "Sing", "er"),
    _pronoun("we", "wir", "1", "Plur", "pl"),
    _pronoun("they", "sie", "3", "Plur", "pl"),
)


def article(stem: str, case: str, column: int) -> str:
    """Return the German article or possessive of a stem (der, dies, ein, mein, unser)."""
    if stem == "der":
        return _DER[case][column]
    return stem + (_DIESER if stem == "dies" else _EIN)[case][column]


def adjective_ending(stem: str, case: str, column: int) -> str:
    """Return the ending of an adjective after an article's stem ("" if there is none)."""
    if not stem:
        return _STRONG_PLURAL[case]
    return (_WEAK if stem in ("der", "dies") else _MIXED)[case][column]


def dative_plural(plural: str) -> str:
    """Return the dative of a plural, which adds -n unless it ends in -n or -s."""
    return plural if plural[-1] in "ns" else plural + "n"


def english_numeral(number: int) -> str:
    """Return the English words for 2 to 99."""
    if number < 20:
        return _ENGLISH[number]
    tens, unit = divmod(number, 10)
    return _ENGLISH_TENS[tens] + (f"-{_ENGLISH[unit]}" if unit else "")


def german_numeral(number: int) -> str:
    """Return the German word for 2 to 99, unit first."""
    if number < 20:
        return _GERMAN[number]
    tens, unit = divmod(number, 10)
    return (f"{_GERMAN[unit]}und" if unit else "") + _GERMAN_TENS[tens]


def noun_phrase(rng: Random, nouns: tuple[Noun, ...], compounds: bool) -> Phrase:
    """Draw a noun phrase: article or numeral, at most one adjective, noun or compound."""
    noun = rng.choice(nouns)
    plural = rng.random() < 0.35
    number = rng.randrange(2, 100) if plural and rng.random() < 0.4 else 0
    english_article, stem = rng.choice(_PLURAL if plural else _SINGULAR)
    if number:
        english_article, stem = english_numeral(number), ""
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.3 else None
    modifier = rng.choice(MODIFIERS) if compounds and rng.random() < 0.25 else None

    of_noun = "Plur" if plural else "Sing"
    english = [Word(adjective[0], "ADJ", ("adjective",), "noun", "amod")] if adjective else []
    if modifier:
        english.append(Word(modifier[0], "NOUN", ("modifier",), "noun", "compound", "Number=Sing"))
    head = noun.english_plural if plural else noun.english
    english.append(Word(head, "NOUN", ("noun",), "", "", f"Number={of_noun}"))
    if english_article == "a" and english[0].text[0] in "aeiou":
        english_article = "an"
    if number:
        english.insert(0, _numeral(english_article))
    elif english_article in _POSSESSIVES:
        english.insert(0, Word(english_article, "PRON", ("article",), "noun", "nmod:poss"))
    elif english_article:
        english.insert(0, Word(english_article, "DET", ("article",), "noun", "det"))

    def german(case: str) -> Words:
        column = _COLUMNS["pl" if plural else noun.gender]
        labels = features(Case=case.title(), Gender=GENDERS[noun.gender], Number=of_noun)
        form = noun.german_plural if plural else noun.german
        if plural and case == "dat":
            form = dative_plural(form)
        if modifier:
            form = modifier[1] + form.lower()
        words = [
            Word(form, "NOUN", ("noun", "modifier") if modifier else ("noun",), "", "", labels)
        ]
        if adjective:
            form = adjective[1] + adjective_ending(stem, case, column)
            words.insert(0, Word(form, "ADJ", ("adjective",), "noun", "amod", labels))
        if number:
            words.insert(0, _numeral(german_numeral(number)))
        elif stem:
            relation = "det:poss" if stem in ("mein", "unser") else "det"
            form = article(stem, case, column)
            words.insert(0, Word(form, "DET", ("article",), "noun", relation, labels))
        return tuple(words)

    agreement = features(Number=of_noun, Person="3")
    return Phrase(tuple(english), german, "pl" if plural else "er", agreement)


def _numeral(word: str) -> Word:
    return Word(word, "NUM", ("article",), "noun", "nummod", "NumType=Card")
