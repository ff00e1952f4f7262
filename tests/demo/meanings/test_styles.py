from random import Random

import pytest
from demo.english_parser import parse

from fairseq_lottery.demo.encoders.documents import negated
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence, draw
from fairseq_lottery.demo.meanings.styles import (
    Style,
    clauses_in_order,
    draw_style,
    english,
    styles_of,
    written,
)

BAKER = NounPhrase("baker", False, "the", "old")
THEY = NounPhrase("they", True)
GIVE = Clause(
    subject=THEY,
    verb="give",
    form="present",
    person=NounPhrase("cat", True, "a", preposition="to"),
    thing=NounPhrase("apple", False, "a", "old", "kitchen"),
)
LISTEN = Clause(BAKER, "listen to", "perfect", person=NounPhrase("I", False))
PUT = Clause(
    subject=NounPhrase("I", False),
    verb="put",
    form="can",
    thing=NounPhrase("egg", True, "twelve"),
    place=NounPhrase("box", True, "this", preposition="in front of"),
    negated=True,
)


@pytest.mark.parametrize(
    "clause, style, sentence",
    [
        (GIVE, Style(), "They give an old kitchen apple to a cats."),
        (GIVE, Style(shifted=True), "They give a cats an old kitchen apple."),
        (GIVE, Style(passive=True), "An old kitchen apple is given to a cats by them."),
        (GIVE._replace(negated=True), Style(), "They do not give an old kitchen apple to a cats."),
        (LISTEN, Style(), "The old baker has listened to me."),
        (LISTEN, Style(passive=True), "I have been listened to by the old baker."),
        (PUT, Style(), "I can not put twelve eggs in front of these boxes."),
        (PUT, Style(passive=True), "Twelve eggs can not be put in front of these boxes by me."),
    ],
)
def test_ways_to_say_a_clause(clause, style, sentence):
    assert english(Sentence(clause), style) == sentence


def test_order_of_adverbs_and_clauses():
    sleep = Clause(BAKER, "sleep", "present")
    assert english(Sentence(sleep, "now")) == "Now the old baker sleeps."
    assert english(Sentence(sleep, "now"), Style(moved=True)) == "The old baker sleeps now."
    pair = Sentence(sleep, conjunction="until", sub=LISTEN)
    assert english(pair) == "The old baker sleeps until the old baker has listened to me."
    assert english(pair, Style(moved=True, sub_passive=True)) == (
        "Until I have been listened to by the old baker, the old baker sleeps."
    )


def test_a_mark_precedes_its_word():
    clauses = clauses_in_order(Sentence(LISTEN))
    assert written(clauses, 0) == "* The old baker has listened to me."
    assert written(clauses, 6) == "The old baker has listened to * me."


def test_styles_make_different_texts_of_one_meaning():
    """An independent parser reads one and the same analysis in all of them."""
    rng = Random(3)
    several = 0
    for _ in range(150):
        sentence = negated(rng, draw(rng))
        texts = [english(sentence, style) for style in styles_of(sentence)]
        assert len(set(texts)) == len(texts)
        analyses = [parse(text) for text in texts]
        assert all(found == analyses[0] and len(found) == 1 for found in analyses), texts
        several += len(texts) > 1
    assert several > 100


def test_a_drawn_style_is_one_of_the_sentence():
    sentence = Sentence(GIVE, "today")
    drawn = {draw_style(Random(seed), sentence) for seed in range(100)}
    assert drawn == set(styles_of(sentence)) and len(drawn) == 6
