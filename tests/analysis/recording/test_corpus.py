"""Which sentences are recorded, and by which words."""

import pytest
from analysis.recorded import PIECES, loaded, sentences

from fairseq_lottery.analysis.recording.corpus import read_corpus
from fairseq_lottery.errors import LotteryError

SOURCE, TARGET = sentences(20, seed=3), sentences(20, seed=4)


@pytest.fixture(scope="module")
def file():
    return loaded(SOURCE, TARGET)


def words_of(line):
    return "".join(line).replace("\u2581", " ").split()


def test_all_sentences_in_their_order(file):
    corpus = read_corpus(file)
    assert [one.number for one in corpus.sentences] == list(range(20)) and corpus.of == 20
    assert corpus.subwords == {"source": "sentencepiece", "target": "sentencepiece"}
    assert [one.words["source"] for one in corpus.sentences] == [*map(words_of, SOURCE)]
    assert corpus.counts["target"] == sum(len(words_of(line)) for line in TARGET)


def test_evenly_spread_sentences_and_the_first_words(file):
    assert [one.number for one in read_corpus(file, sentences=5).sentences] == [0, 4, 8, 12, 16]
    counts = [len(words_of(line)) for line in SOURCE]
    first = read_corpus(file, words=counts[0] + counts[1] + 1)
    assert [one.number for one in first.sentences] == [0, 1, 2]
    assert len(read_corpus(file, words=counts[0] + counts[1]).sentences) == 2


def test_each_piece_is_a_word_where_the_user_says_so(file):
    corpus = read_corpus(file, subwords="none")
    assert corpus.sentences[3].words["source"] == SOURCE[3]


def test_words_of_a_file_decide_and_others_are_dropped(file, tmp_path):
    lines = [" ".join(words_of(line)) for line in SOURCE]
    lines[4] = lines[4] + "x"  # not the text of the data
    (tmp_path / "words.en").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(file, files={"source": tmp_path / "words.en"})
    assert corpus.dropped == 1
    assert [one.number for one in corpus.sentences] == [k for k in range(20) if k != 4]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"subset": "test"}, "no pairs called test"),
        ({"sentences": 0}, "--sentences 0"),
        ({"words": -1}, "--words -1"),
        ({"subwords": "bpe"}, "'bpe'"),
    ],
)
def test_bad_input_is_refused(file, options, problem):
    with pytest.raises(LotteryError, match=problem):
        read_corpus(file, **options)


def test_files_that_do_not_pair_are_refused(file, tmp_path):
    (tmp_path / "short").write_text("a\n" * 19)
    with pytest.raises(LotteryError, match="has 19 lines, but valid has 20 sentences"):
        read_corpus(file, files={"target": tmp_path / "short"})
    (tmp_path / "other").write_text("a\n" * 20)
    with pytest.raises(LotteryError, match="no sentence of valid"):
        read_corpus(file, files={"target": tmp_path / "other"})
    with pytest.raises(LotteryError, match="No such file"):
        read_corpus(file, files={"target": tmp_path / "missing"})


def test_an_empty_sentence_is_dropped():
    assert PIECES[1] == "\u25811"
    corpus = read_corpus(loaded([[], [PIECES[1]]], [[PIECES[3]], [PIECES[3]]]))
    assert corpus.dropped == 1 and [one.number for one in corpus.sentences] == [1]
