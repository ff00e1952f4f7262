from collections import Counter, defaultdict
from random import Random

import pytest

from fairseq_lottery.demo.languages.corpora import CODES, documents, examples, parallel
from fairseq_lottery.demo.languages.vocabulary import affixes, words

SIZES = {"test": 30, "valid": 21, "train": 90}


def test_parallel_sentences_are_different_in_every_language():
    texts = defaultdict(list)
    for part, languages in parallel(1, SIZES):
        assert tuple(languages) == CODES
        for code, text in languages.items():
            texts[code].append(text)
            texts[part].append(text)
    for code in CODES:
        assert len(set(texts[code])) == len(texts[code]) == sum(SIZES.values())
    assert {part: len(texts[part]) // len(CODES) for part in SIZES} == SIZES


def test_examples_are_the_same_in_every_language():
    labels, texts = defaultdict(list), defaultdict(list)
    for part, languages in examples(1, SIZES):
        assert len({example.label for example in languages.values()}) == 1
        labels[part].append(languages["en"].label)
        for code, example in languages.items():
            texts[code].append(example.texts)
            assert example.texts[0] != example.texts[1]
    for part in SIZES:
        counts = Counter(labels[part])
        assert len(counts) == 3 and max(counts.values()) - min(counts.values()) <= 1
    for code in CODES:
        assert len(set(texts[code])) == sum(SIZES.values())


def test_documents_are_in_one_language_or_two():
    alphabets = {
        code: set("".join([*words(code).values(), *affixes(code).values()])) for code in CODES[1:]
    }

    def languages(sentence):
        letters = set(sentence.lower()) - set(" .,")
        return {code for code in alphabets if letters <= alphabets[code]} or {"en"}

    drawn = list(documents(1, 400))
    assert all(len(document) == 2 for document in drawn)
    mixed = sum(languages(first).isdisjoint(languages(second)) for first, second in drawn)
    assert 150 < mixed < 230


@pytest.mark.parametrize("draw", [lambda seed: list(parallel(seed, {"test": 8})),
                                  lambda seed: list(examples(seed, {"test": 8})),
                                  lambda seed: list(documents(seed, 8))])  # fmt: skip
def test_only_the_seed_decides(draw):
    state = Random(0).getstate()
    assert draw(1) == draw(1) != draw(2)
    assert Random(0).getstate() == state
