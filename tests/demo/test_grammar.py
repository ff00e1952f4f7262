import random

import pytest

from fairseq_lottery.demo.clauses import Clause
from fairseq_lottery.demo.lexicon import PEOPLE, THINGS, VERBS
from fairseq_lottery.demo.phrases import (
    adjective_ending,
    article,
    dative_plural,
    english_numeral,
    german_numeral,
    noun_phrase,
)

PICK_UP = Clause(
    english="the man picks up the apple",
    subject="der Mann",
    finite="hebt",
    middle="den Apfel",
    prefix="auf",
    final="",
)
CAN_PICK_UP = Clause(
    english="the man can pick up the apple",
    subject="der Mann",
    finite="kann",
    middle="den Apfel",
    prefix="",
    final="aufheben",
)


@pytest.mark.parametrize(
    "number, english, german",
    [
        (2, "two", "zwei"),
        (16, "sixteen", "sechzehn"),
        (17, "seventeen", "siebzehn"),
        (25, "twenty-five", "fünfundzwanzig"),
        (30, "thirty", "dreißig"),
        (61, "sixty-one", "einundsechzig"),
        (99, "ninety-nine", "neunundneunzig"),
    ],
)
def test_numerals(number, english, german):
    assert (english_numeral(number), german_numeral(number)) == (english, german)


def test_numerals_are_all_different():
    for numeral in (english_numeral, german_numeral):
        assert len({numeral(number) for number in range(2, 100)}) == 98


def test_separable_verbs_part_in_main_clauses_only():
    assert PICK_UP.verb_second() == "der Mann hebt den Apfel auf"
    assert PICK_UP.verb_second("heute") == "heute hebt der Mann den Apfel auf"
    assert PICK_UP.verb_final("weil") == "weil der Mann den Apfel aufhebt"


def test_an_infinitive_goes_to_the_end_and_the_modal_behind_it_in_a_subordinate_clause():
    assert CAN_PICK_UP.verb_second() == "der Mann kann den Apfel aufheben"
    assert CAN_PICK_UP.verb_final("dass") == "dass der Mann den Apfel aufheben kann"


def test_articles_agree():
    cases = ("nom", "acc", "dat")
    table = {
        stem: [article(stem, c, k) for c in cases for k in range(4)] for stem in ("der", "ein")
    }
    assert " ".join(table["der"]) == "der die das die den die das die dem der dem den"
    assert " ".join(table["ein"]) == "ein eine ein eine einen eine ein eine einem einer einem einen"
    assert [article("dies", "dat", k) for k in range(4)] == ["diesem", "dieser", "diesem", "diesen"]


def test_adjectives_agree_with_what_stands_before_them():
    assert [adjective_ending("der", "nom", k) for k in range(4)] == ["e", "e", "e", "en"]
    assert [adjective_ending("ein", "nom", k) for k in range(4)] == ["er", "e", "es", "en"]
    assert [adjective_ending("", case, 3) for case in ("nom", "acc", "dat")] == ["e", "e", "en"]


def test_the_dative_plural_ends_in_n():
    words = ("Kinder", "Frauen", "Babys", "Tische")
    assert [dative_plural(word) for word in words] == ["Kindern", "Frauen", "Babys", "Tischen"]


def test_a_noun_phrase_has_the_head_of_its_compound_agree():
    rng = random.Random(0)
    drawn = {
        phrase.english: phrase for phrase in (noun_phrase(rng, THINGS, True) for _ in range(4000))
    }
    boxes, knives = drawn["these kitchen boxes"], drawn["these young kitchen knives"]
    assert drawn["our kitchen ship"].german == {
        "nom": "unser Küchenschiff",
        "acc": "unser Küchenschiff",
        "dat": "unserem Küchenschiff",
    }
    assert boxes.german["dat"] == "diesen Küchenkisten"
    assert (knives.german["nom"], knives.german["dat"], knives.person) == (
        "diese jungen Küchenmesser",
        "diesen jungen Küchenmessern",
        "pl",
    )


def test_the_lexicon_is_well_formed():
    nouns = PEOPLE + THINGS
    assert {noun.gender for noun in nouns} == {"m", "f", "n"}
    assert {verb.frame for verb in VERBS} == {"none", "thing", "person", "dative", "give", "put"}
    assert sum(bool(verb.prefix) for verb in VERBS) == 11
    for verb in VERBS:
        assert verb.participle.startswith(verb.prefix)
    for key in ("english", "german"):
        assert len({getattr(noun, key) for noun in nouns}) == len(nouns) == 45
