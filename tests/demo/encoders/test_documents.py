from itertools import islice

from demo.english_parser import parse

from fairseq_lottery.demo.encoders.documents import documents


def test_every_sentence_is_of_the_grammar_and_has_one_reading():
    drawn = [sentence for document in documents(1, 150) for sentence in document]
    for sentence in drawn:
        assert len(parse(sentence.replace("* ", ""))) == 1, sentence
    marked = sum("* " in sentence for sentence in drawn)
    denied = sum(" not " in sentence for sentence in drawn)
    assert 0 < marked < len(drawn) / 10 and len(drawn) / 10 < denied < len(drawn) / 2


def test_documents_are_of_two_or_three_sentences_that_share_words():
    drawn = list(documents(1, 300))
    assert {len(document) for document in drawn} == {2, 3}
    shared = [
        len(set(first.lower().split()) & set(second.lower().split())) for first, second, *_ in drawn
    ]
    assert sum(shared) / len(shared) > 4


def test_only_the_seed_decides():
    assert list(documents(3, 20)) == list(islice(documents(3, 50), 20)) != list(documents(4, 20))
