import pytest

from fairseq_lottery.demo.languages.language_table import FAMILIES, HUB, LANGUAGES, table
from fairseq_lottery.demo.languages.vocabulary import AFFIXES, affixes, words

CODES = list(LANGUAGES)


def test_family_order_and_size_are_crossed():
    for attribute in ("order", "size"):
        for family in FAMILIES:
            values = [getattr(one, attribute) for one in LANGUAGES.values() if one.family == family]
            assert len(set(values)) == len(values) == 3
    assert len({(one.order, one.size) for one in LANGUAGES.values()}) == 6


def test_the_table_of_metadata():
    names, hub, *rows = table(400)
    assert names == ["language", "family", "order", "affixes", "size", "sentences"]
    assert hub == [HUB, "english", "SVO", "suffixes", "large", "400"]
    assert rows == [
        ["na", "north", "SVO", "suffixes", "large", "400"],
        ["nb", "north", "SOV", "suffixes", "medium", "200"],
        ["nc", "north", "VSO", "suffixes", "small", "100"],
        ["sa", "south", "SVO", "prefixes", "small", "100"],
        ["sb", "south", "SOV", "prefixes", "large", "400"],
        ["sc", "south", "VSO", "prefixes", "medium", "200"],
    ]


@pytest.mark.parametrize("code", CODES)
def test_words_of_a_language_are_different(code):
    vocabulary = words(code)
    assert len(set(vocabulary.values())) == len(vocabulary) == 179
    parts = affixes(code)
    assert set(parts) == set(AFFIXES) and len(set(parts.values())) == len(AFFIXES)


@pytest.mark.parametrize("family", FAMILIES)
def test_languages_of_a_family_have_regular_correspondences(family):
    first, *others = [code for code in CODES if LANGUAGES[code].family == family]
    for other in others:
        pairs = set()
        for meaning, word in words(first).items():
            translation = words(other)[meaning]
            assert len(word) == len(translation)
            pairs |= set(zip(word, translation))
        assert len({letter for letter, _ in pairs}) == len(pairs) == len({x for _, x in pairs})
        changed = {(letter, x) for letter, x in pairs if letter != x}
        assert len(changed) == 2


def test_families_share_no_word():
    assert not set(words("na").values()) & set(words("sa").values())
    for code, language in LANGUAGES.items():
        letters = set("".join(words(code).values()))
        sounds = dict(language.sounds)
        family = FAMILIES[language.family]
        assert letters == {sounds.get(x, x) for x in family.consonants + family.vowels}
