import random
import re

import pytest

from fairseq_lottery.demo.labels import (
    agreement_pairs,
    agreements,
    alignment,
    conllu,
    heads_of,
    write_labels,
)
from fairseq_lottery.demo.language import corpus, labelled_pairs
from fairseq_lottery.demo.lexicon import MODIFIERS, PEOPLE, THINGS
from fairseq_lottery.demo.words import text
from fairseq_lottery.errors import LotteryError

SIZES = {"valid": 300, "train": 900}


@pytest.fixture(scope="module")
def pairs():
    return [pair for _, pair in labelled_pairs(1, SIZES)]


def test_the_words_are_those_of_the_text(pairs):
    plain = corpus(1, SIZES)
    assert [tuple(map(text, pair)) for pair in pairs] == plain["valid"] + plain["train"]
    assert all(" " not in word.text for pair in pairs for words in pair for word in words)


def find(pairs, pattern):
    return next(pair for pair in pairs if re.search(pattern, text(pair[0])))


def test_a_sentence_worked_by_hand(pairs):
    english, german = find(pairs, "^Although our babies can pick up a book")
    assert text(german) == (
        "Obwohl unsere Babys ein Buch aufheben können, kann dieser Lehrer diesem Freund meinen"
        " Brief zeigen."
    )
    # can pick up / aufheben können; can show / kann ... zeigen
    assert [word.pos for word in english] == (
        "SCONJ PRON NOUN AUX VERB ADP DET NOUN DET NOUN AUX VERB PRON NOUN ADP DET NOUN".split()
    )
    assert heads_of(english) == [4, 2, 4, 4, 11, 4, 7, 4, 9, 11, 11, -1, 13, 11, 16, 16, 11]
    assert [word.relation for word in english] == (
        "mark nmod:poss nsubj aux advcl compound:prt det obj det nsubj aux root nmod:poss obj case"
        " det obl".split()
    )
    assert [word.clause for word in english] == ["sub"] * 8 + ["main"] * 9
    assert heads_of(german) == [5, 2, 5, 4, 5, 14, 5, 14, 9, 14, 11, 14, 13, 14, -1]
    assert agreements(german) == [(2, 6), (9, 7)]
    assert agreement_pairs(german) == "2\t6\t3Plur\n9\t7\t3Sing\n\n"
    assert alignment(english, german) == [
        (0, 0), (1, 1), (2, 2), (3, 6), (4, 5), (5, 5), (6, 3), (7, 4), (8, 8), (9, 9), (10, 7),
        (11, 14), (12, 12), (13, 13), (15, 10), (16, 11),
    ]  # fmt: skip
    assert conllu("s", german).splitlines()[12] == (
        "11\tdiesem\t_\tDET\t_\tCase=Dat|Gender=Masc|Number=Sing\t12\tdet\t_\tClause=main"
    )


def test_each_sentence_is_a_tree(pairs):
    for pair in pairs:
        for words in pair:
            heads = heads_of(words)
            assert heads.count(-1) == 1
            for number in range(len(words)):
                steps = 0
                while heads[number] >= 0:
                    number, steps = heads[number], steps + 1
                    assert steps < len(words)


def test_each_clause_has_one_agreement(pairs):
    for pair in pairs:
        for words in pair:
            assert len(agreements(words)) == len({word.clause for word in words})
            for subject, verb in agreements(words):
                assert words[subject].pos in ("NOUN", "PRON")
                assert words[verb].features.endswith("VerbForm=Fin")


def plain(word):
    return word.text.strip(".,").lower()


def test_aligned_nouns_translate_each_other(pairs):
    """The dictionary of the lexicon knows neither clauses nor roles."""
    nouns = {}
    for noun in PEOPLE + THINGS:
        nouns[noun.english], nouns[noun.english_plural] = (noun.german, noun.german_plural)
    modifiers = dict(MODIFIERS)
    checked = 0
    for english, german in pairs:
        for i, j in alignment(english, german):
            word, translation = plain(english[i]), plain(german[j])
            if english[i].relation == "compound":
                assert translation.startswith(modifiers[word].lower())
            elif english[i].pos == "NOUN" and word != "front":
                assert translation.removesuffix("n").endswith(nouns[word].lower().removesuffix("n"))
                checked += 1
    assert checked > 3000


def test_the_files_are_those_of_the_text(tmp_path):
    for part, sentences in corpus(3, SIZES).items():
        for language, lines in zip(("en", "de"), zip(*sentences)):
            (tmp_path / f"{part}.{language}").write_text("".join(f"{line}\n" for line in lines))
    before = set(tmp_path.iterdir())
    with pytest.raises(LotteryError, match="line 1 of .*valid"):
        write_labels(tmp_path, 4, SIZES)
    assert set(tmp_path.iterdir()) == before
    write_labels(tmp_path, 3, SIZES)
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {
        f"{part}.{name}"
        for part in SIZES
        for name in ("en.conllu", "de.conllu", "en.agreement", "de.agreement", "align")
    }
    forms = [
        line.split("\t")[1] if line else "\n"
        for line in (tmp_path / "valid.de.conllu").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert " ".join(forms).replace(" \n ", "\n").removesuffix(" \n") + "\n" == (
        (tmp_path / "valid.de").read_text()
    )
    assert len((tmp_path / "train.align").read_text().splitlines()) == 900


def test_the_global_generator_is_not_moved():
    state = random.getstate()
    next(labelled_pairs(1, {"valid": 1}))
    assert random.getstate() == state
