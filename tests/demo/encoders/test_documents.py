from collections import Counter
from itertools import islice

from demo.english_parser import parse

from fairseq_lottery.demo.encoders.documents import documents


def plain(sentence):
    """The relation that a sentence begins with, and the sentence without it and without marks."""
    first, _, rest = sentence.replace("* ", "").partition(" ")
    if first not in ("Again", "Perhaps", "Instead", "But"):
        return "", f"{first} {rest}"
    return first, rest[0].upper() + rest[1:]


def test_the_relation_is_that_of_the_sentences():
    seen = Counter()
    for document in documents(2, 400):
        (first,) = parse(plain(document[0])[1])
        for sentence in document[1:]:
            relation, text = plain(sentence)
            (second,) = parse(text)
            seen[relation] += 1
            if relation == "Again":
                assert first == second
            elif relation == "Perhaps":
                assert second[0] in (first[0], first[2]) and second[2] is None
            elif relation == "But":
                kept = (first[0], first[2]) if second[2] is None else (first[0],)
                assert {**second[0], "denied": not second[0]["denied"]} in kept
            elif relation == "Instead":
                assert second[0] not in (first[0], first[2])
    assert set(seen) == {"", "Again", "Perhaps", "Instead", "But"} and min(seen.values()) > 2


def test_every_sentence_is_of_the_grammar_and_has_one_reading():
    drawn = [sentence for document in documents(1, 150) for sentence in document]
    for sentence in drawn:
        assert len(parse(plain(sentence)[1])) == 1, sentence
    marked = sum("* " in sentence for sentence in drawn)
    denied = sum(" not " in sentence for sentence in drawn)
    assert 0 < marked < len(drawn) / 10 and len(drawn) / 10 < denied < len(drawn) / 2


def test_documents_are_of_one_to_three_sentences_that_share_words():
    drawn = list(documents(1, 300))
    assert {len(document) for document in drawn} == {1, 2, 3}
    shared = [
        len(set(first.lower().split()) & set(second.lower().split()))
        for first, second, *_ in (document for document in drawn if len(document) > 1)
    ]
    assert sum(shared) / len(shared) > 4


def test_only_the_seed_decides():
    assert list(documents(3, 20)) == list(islice(documents(3, 50), 20)) != list(documents(4, 20))
