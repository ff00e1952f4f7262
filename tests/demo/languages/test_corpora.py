from collections import Counter, defaultdict
from random import Random

import pytest

from fairseq_lottery.demo.languages.corpora import CODES, TASKS, documents, examples, parallel
from fairseq_lottery.demo.languages.language_table import LANGUAGES
from fairseq_lottery.demo.languages.vocabulary import affixes, words
from fairseq_lottery.demo.lexicon import CONJUNCTIONS, MODALS
from fairseq_lottery.demo.meanings.english import FORMS

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


@pytest.mark.parametrize("task", TASKS)
def test_examples_are_the_same_in_every_language(task):
    labels, texts = defaultdict(list), defaultdict(list)
    for part, languages in examples(task, 1, SIZES):
        assert len({example.label for example in languages.values()}) == 1
        labels[part].append(languages["en"].label)
        for code, example in languages.items():
            texts[code].append(example.texts)
            assert len(set(example.texts)) == len(example.texts) == 1 + (task == "entailment")
    for part in SIZES:
        counts = Counter(labels[part])
        assert set(counts) == set(TASKS[task][0])
        assert max(counts.values()) - min(counts.values()) <= 1
    for code in CODES:
        assert len(set(texts[code])) == sum(SIZES.values())


def clauses_of(code, text):
    """Words of the main clause and of the other one, by the place of the conjunction."""
    own = words(code)
    conjunctions = {own[row[0]] for row in CONJUNCTIONS} | {own["that"]}
    clauses = [clause.split() for clause in text.lower().strip(".").split(",")]
    place = -1 if LANGUAGES[code].order == "SOV" else 0
    (sub,) = [clause for clause in clauses if clause[place] in conjunctions]
    (main,) = [clause for clause in clauses if clause is not sub]
    return main, sub


def readings(code, word):
    """Words of the language and their affixes that a form can be read as."""
    own = {root: meaning for meaning, root in words(code).items()}
    found, parts = {(own[word], ())} if word in own else set(), affixes(code)
    prefixed = LANGUAGES[code].family == "south"
    for name, letters in parts.items():
        if (word.startswith if prefixed else word.endswith)(letters):
            rest = word[len(letters) :] if prefixed else word[: -len(letters)]
            found |= {(meaning, (*names, name)) for meaning, names in readings(code, rest)}
    return found


VERB_WORDS = {*FORMS, *(row[0] for row in MODALS)}


def finite(code, clause):
    """Meaning and affixes of the word of a clause that has a person."""
    (one,) = {
        (meaning, names)
        for word in clause
        for meaning, names in readings(code, word)
        if meaning in VERB_WORDS and set(names) & {"first", "third", "many"}
    }
    return one


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_verb_of_the_main_clause_has_the_label(code):
    def of_form(verb):
        meaning, names = verb
        return "perfect" if "perfect" in names else "present" if meaning in FORMS else "modal"

    for _, languages in examples("tense", 1, {"test": 60}):
        (text,), label = languages[code]
        main, sub = (of_form(finite(code, clause)) for clause in clauses_of(code, text))
        assert main == label != sub
    for _, languages in examples("agreement", 1, {"test": 60}):
        (text,), label = languages[code]
        main, sub = ("many" in finite(code, clause)[1] for clause in clauses_of(code, text))
        assert main is (label == "plural") is not sub


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
                                  lambda seed: list(examples("tense", seed, {"test": 8})),
                                  lambda seed: list(documents(seed, 8))])  # fmt: skip
def test_only_the_seed_decides(draw):
    state = Random(0).getstate()
    assert draw(1) == draw(1) != draw(2)
    assert Random(0).getstate() == state
