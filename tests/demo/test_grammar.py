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
from fairseq_lottery.demo.words import Word, text


def words(line):
    return tuple(Word(form, "X", ("some",), "", "") for form in line.split())


PICK_UP = Clause(
    english=words("the man picks up the apple"),
    subject=words("der Mann"),
    finite=words("hebt")[0],
    middle=words("den Apfel"),
    prefix=words("auf"),
    final=(),
)
CAN_PICK_UP = Clause(
    english=words("the man can pick up the apple"),
    subject=words("der Mann"),
    finite=words("kann")[0],
    middle=words("den Apfel"),
    prefix=(),
    final=words("aufheben"),
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
    assert text(PICK_UP.verb_second()) == "der Mann hebt den Apfel auf"
    assert text(PICK_UP.verb_second(words("heute"))) == "heute hebt der Mann den Apfel auf"
    assert text(PICK_UP.verb_final(words("weil"))) == "weil der Mann den Apfel aufhebt"


def test_an_infinitive_goes_to_the_end_and_the_modal_behind_it_in_a_subordinate_clause():
    assert text(CAN_PICK_UP.verb_second()) == "der Mann kann den Apfel aufheben"
    assert text(CAN_PICK_UP.verb_final(words("dass"))) == "dass der Mann den Apfel aufheben kann"


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
    plurals = ("Kinder", "Frauen", "Babys", "Tische")
    assert [dative_plural(plural) for plural in plurals] == [
        "Kindern",
        "Frauen",
        "Babys",
        "Tischen",
    ]


def test_a_noun_phrase_has_the_head_of_its_compound_agree():
    rng = random.Random(0)
    drawn = {
        text(phrase.english): phrase
        for phrase in (noun_phrase(rng, THINGS, True) for _ in range(4000))
    }
    boxes, knives = drawn["these kitchen boxes"], drawn["these young kitchen knives"]
    ship = drawn["our kitchen ship"]
    assert {case: text(ship.german(case)) for case in ("nom", "acc", "dat")} == {
        "nom": "unser Küchenschiff",
        "acc": "unser Küchenschiff",
        "dat": "unserem Küchenschiff",
    }
    assert text(boxes.german("dat")) == "diesen Küchenkisten"
    assert (text(knives.german("nom")), text(knives.german("dat")), knives.person) == (
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
