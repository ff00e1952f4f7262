from random import Random

import pytest

from fairseq_lottery.demo.lexicon import VERBS
from fairseq_lottery.demo.meanings.changes import definite, other_word, rearrangements, slots
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence, draw
from fairseq_lottery.demo.meanings.styles import english

HELP = Clause(
    subject=NounPhrase("man", False, "a", "old"),
    verb="help",
    form="present",
    person=NounPhrase("queen", True, "", "red"),
    adjunct=NounPhrase("dog", False, "the", preposition="with"),
)
FRAMES = {verb.english: verb.frame for verb in VERBS}


def test_places_of_content_words():
    assert slots(HELP) == [
        ("verb", "verb"),
        ("subject", "noun"),
        ("subject", "adjective"),
        ("person", "noun"),
        ("person", "adjective"),
        ("adjunct", "noun"),
    ]


@pytest.mark.parametrize("slot", slots(HELP))
def test_one_other_word_of_the_same_kind(slot):
    before = english(Sentence(HELP)).lower().split()
    for seed in range(30):
        changed = other_word(Random(seed), HELP, slot)
        assert [one for one in slots(HELP) if _word(HELP, one) != _word(changed, one)] == [slot]
        assert FRAMES[changed.verb] == "dative"
        words = english(Sentence(changed)).lower().split()
        assert abs(len(words) - len(before)) <= 1  # "listen to" has two words


def _word(clause, slot):
    role, kind = slot
    return clause.verb if role == "verb" else getattr(getattr(clause, role), kind)


def test_pronouns_replace_pronouns_of_their_number():
    for noun, others in (("I", {"he", "she"}), ("we", {"they"})):
        clause = HELP._replace(subject=NounPhrase(noun, noun == "we"))
        drawn = {other_word(Random(n), clause, ("subject", "noun")).subject for n in range(40)}
        assert {phrase.noun for phrase in drawn} == others


def test_rearranged_sentences_worked_by_hand():
    assert [english(Sentence(changed)) for changed in rearrangements(HELP)] == [
        "Red queens help an old man with the dog.",
        "A red man helps old queens with the dog.",
        "A man helps red queens with the old dog.",
        "An old man helps queens with the red dog.",
    ]


def test_rearranged_sentences_have_the_same_words():
    rng, checked = Random(4), 0
    for _ in range(500):
        clause = draw(rng).main
        for changed in rearrangements(clause):
            assert changed != clause
            assert sorted(_content(changed)) == sorted(_content(clause))
            checked += 1
    assert checked > 500


def _content(clause):
    return [clause.verb, *(
        word for _, phrase in clause.phrases() for word in (phrase.noun, phrase.adjective)
    )]  # fmt: skip


def test_definite():
    assert english(Sentence(definite(HELP))) == "The old man helps the red queens with the dog."
