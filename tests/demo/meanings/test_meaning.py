from random import Random

import pytest

from fairseq_lottery.demo.language import labelled_pairs
from fairseq_lottery.demo.meanings.meaning import Clause, NounPhrase, Sentence, draw, meaning_of
from fairseq_lottery.demo.meanings.styles import Style, english
from fairseq_lottery.demo.words import text


@pytest.fixture(scope="module")
def sentences():
    return [english for _, (english, _) in labelled_pairs(1, {"some": 5000})]


def test_a_sentence_said_again_is_the_sentence(sentences):
    """The meaning loses nothing: the text of the grammar comes back letter by letter."""
    for words in sentences:
        style = Style(moved=words[0].clause == "sub")
        assert english(meaning_of(words), style) == text(words)


def test_different_sentences_have_different_meanings(sentences):
    texts = {(words[0].clause, meaning_of(words)): text(words) for words in sentences}
    assert len(texts) == len(sentences)


def test_a_meaning_worked_by_hand(sentences):
    (words,) = (s for s in sentences if text(s).startswith("Although our babies can pick up"))
    assert text(words) == (
        "Although our babies can pick up a book, this teacher can show my letter to this friend."
    )
    assert meaning_of(words) == Sentence(
        main=Clause(
            subject=NounPhrase("teacher", False, "this"),
            verb="show",
            form="can",
            person=NounPhrase("friend", False, "this", preposition="to"),
            thing=NounPhrase("letter", False, "my"),
        ),
        conjunction="although",
        sub=Clause(
            subject=NounPhrase("baby", True, "our"),
            verb="pick up",
            form="can",
            thing=NounPhrase("book", False, "a"),
        ),
    )


def test_drawing_until_accepted():
    drawn = [draw(Random(seed), lambda one: one.adverb == "often") for seed in range(20)]
    assert {sentence.adverb for sentence in drawn} == {"often"}
    assert drawn == [draw(Random(seed), lambda one: one.adverb == "often") for seed in range(20)]
