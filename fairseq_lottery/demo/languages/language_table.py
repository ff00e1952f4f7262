"""``LANGUAGES``: family, word order and size of each invented language."""

from __future__ import annotations

from dataclasses import dataclass

#: the language that all others are translated from and to
HUB = "en"


@dataclass(frozen=True)
class Family:
    """Languages with common roots and affixes.

    Attributes:
        consonants: consonants of the roots.
        vowels: vowels of the roots.
        has_prefixes: whether affixes precede their word; else they follow it.
    """

    consonants: str
    vowels: str
    has_prefixes: bool


@dataclass(frozen=True)
class Language:
    """A language of a family.

    Attributes:
        family: name in ``FAMILIES``.
        order: order of subject, verb and objects: ``SVO``, ``SOV`` or ``VSO``.
        size: ``large``, ``medium`` or ``small``: how much of the training text it has.
        sounds: letters of the family's words -> letters of this language; the other are the same.
    """

    family: str
    order: str
    size: str
    sounds: tuple[tuple[str, str], ...] = ()

    @property
    def is_verb_final(self) -> bool:
        """Return whether the verb follows its objects; then adpositions follow their nouns."""
        return self.order == "SOV"


FAMILIES = {
    "north": Family("ptkcnslr", "aeiou", has_prefixes=False),
    "south": Family("bdghmzwj", "aiuo", has_prefixes=True),
}
#: each family has every order and every size once; no order always has the same size
LANGUAGES = {
    "na": Language("north", "SVO", "large"),
    "nb": Language("north", "SOV", "medium", (("k", "g"), ("o", "ö"))),
    "nc": Language("north", "VSO", "small", (("p", "f"), ("t", "d"))),
    "sa": Language("south", "SVO", "small"),
    "sb": Language("south", "SOV", "large", (("z", "s"), ("u", "ü"))),
    "sc": Language("south", "VSO", "medium", (("w", "v"), ("j", "y"))),
}
#: size -> share of the training text
SHARES = {"large": 1.0, "medium": 0.5, "small": 0.25}


def table(sentences: int) -> list[list[str]]:
    """Return metadata of all languages as rows, for training text of so many sentences."""
    rows = [["language", "family", "order", "affixes", "size", "sentences"]]
    rows.append([HUB, "english", "SVO", "suffixes", "large", str(sentences)])
    for code, language in LANGUAGES.items():
        affixes = "prefixes" if FAMILIES[language.family].has_prefixes else "suffixes"
        size = str(size_of(code, sentences))
        rows.append([code, language.family, language.order, affixes, language.size, size])
    return rows


def size_of(code: str, sentences: int) -> int:
    """Return how many of the training sentences a language has."""
    return sentences if code == HUB else int(sentences * SHARES[LANGUAGES[code].size])
