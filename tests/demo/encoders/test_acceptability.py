from random import Random

import pytest
from demo.english_parser import parse

from fairseq_lottery.demo.encoders.acceptability import _RULES, breaks_of, broken
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence, draw, verbs_of
from fairseq_lottery.demo.meanings.styles import clauses_in_order, draw_style, written

CALL = Clause(
    subject=NounPhrase("dog", True, "this"),
    verb="pick up",
    form="can",
    thing=NounPhrase("egg", False, "a"),
    adjunct=NounPhrase("key", True, "the", "old", preposition="in front of"),
)


def test_all_broken_forms_of_a_clause():
    (clause,) = clauses_in_order(Sentence(CALL))
    assert written([clause]) == "These dogs can pick up an egg in front of the old keys."
    assert [written([changed]) for changed in breaks_of(clause)] == [
        "Dogs these can pick up an egg in front of the old keys.",
        "These dogs can pick up egg an in front of the old keys.",
        "These dogs can pick up an egg in front of keys the old.",
        "These dogs can pick up an egg in front of the keys old.",
        "These dogs can pick up an egg the old keys in front of.",
        "These dogs pick can up an egg in front of the old keys.",
        "These dog can pick up an egg in front of the old keys.",
        "This dogs can pick up an egg in front of the old keys.",
        "These dogs can pick up an eggs in front of the old keys.",
        "These dogs can pick up a egg in front of the old keys.",
    ]


def test_a_noun_is_not_moved_before_another_phrase():
    """ "gives the dogs cars" with its noun moved is "gives dogs the cars", which is grammatical."""
    clause = Clause(
        NounPhrase("he", False),
        "give",
        "present",
        person=NounPhrase("dog", True, "the", preposition="to"),
        thing=NounPhrase("car", True, "", "old"),
    )
    style = draw_style(Random(0), Sentence(clause))._replace(shifted=True, passive=False)
    (words,) = clauses_in_order(Sentence(clause), style)
    assert written([words]) == "He gives the dogs old cars."
    assert [written([changed]) for changed in breaks_of(words)] == [
        "He gives the dogs cars old.",
        "He give the dogs old cars.",
    ]


@pytest.mark.parametrize("rule", _RULES, ids=lambda rule: rule.__name__)
def test_no_rule_makes_a_sentence_of_the_grammar(rule):
    rng, checked = Random(f"test|{rule.__name__}"), 0
    for _ in range(300):
        sentence = draw(rng, lambda one: "put" not in verbs_of(one))
        clauses = clauses_in_order(sentence, draw_style(rng, sentence))
        assert len(parse(written(clauses))) == 1
        for place, clause in enumerate(clauses):
            for changed in rule(clause):
                text = written([*clauses[:place], changed, *clauses[place + 1 :]])
                assert parse(text) == [], text
                checked += 1
    assert checked > 50


def test_one_clause_is_broken():
    rng = Random(2)
    for _ in range(50):
        sentence = draw(rng, lambda one: one.sub is not None)
        clauses = clauses_in_order(sentence)
        assert sum(a != b for a, b in zip(clauses, broken(rng, clauses))) == 1
