"""Merging of subwords, against fairseq's and sentencepiece's own ways back to text."""

import io

import pytest
from fairseq.data.data_utils import post_process
from hypothesis import given
from hypothesis import strategies as st

from fairseq_lottery.analysis.recording.words import (
    guess_subwords,
    match_words,
    merge,
    word_starts,
)

SPACE = "\u2581"
TEXT = [
    "the cat sat on the mat.", "a catalogue of cats, mats and hats!", "Katzen sitzen auf Matten",
    "hats on cats", "the mat on the cat", "übermäßig große Katzen", "no. 12 of 3,000",
]  # fmt: skip


def merged(pieces, subwords):
    return merge(pieces, word_starts(pieces, subwords), subwords)


@pytest.fixture(scope="module")
def sentencepiece():
    """A model that sentencepiece trained."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 5), model_writer=model, vocab_size=60, model_type="bpe",
        minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_some_words_have_several_pieces(sentencepiece):
    assert len(sentencepiece.encode(TEXT[1], out_type=str)) > len(TEXT[1].split())


@pytest.mark.parametrize("line", TEXT)
def test_pieces_of_sentencepiece_give_its_words(sentencepiece, line):
    pieces = sentencepiece.encode(line, out_type=str)
    words = merged(pieces, "sentencepiece")
    assert words == sentencepiece.decode(pieces).split() == line.split()
    assert match_words(pieces, line.split(), "sentencepiece") == word_starts(
        pieces, "sentencepiece"
    )


@pytest.mark.parametrize("flags", [{}, {"byte_fallback": True}, {"character_coverage": 1.0}])
@pytest.mark.parametrize("model_type", ["unigram", "bpe", "char"])
def test_pieces_of_other_models_of_sentencepiece_give_the_words(model_type, flags):
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 5), model_writer=model, model_type=model_type,
        vocab_size=320 if "byte_fallback" in flags else 40, hard_vocab_limit=False, minloglevel=2,
        **flags,
    )  # fmt: skip
    encoder = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    for line in [*TEXT, "\u20ac 5 caf\u00e9s \U0001f600\u4f60 x\u20ac", "\u65e5\u672c"]:
        pieces = encoder.encode(line, out_type=str)
        words = merged(pieces, "sentencepiece")
        assert words == line.split()
        starts = word_starts(pieces, "sentencepiece")
        assert match_words(pieces, line.split(), "sentencepiece") == starts
    assert any(piece.startswith("<0x") for piece in pieces) == ("byte_fallback" in flags)


def test_bytes_that_are_no_character_are_one_each():
    pieces = [f"{SPACE}a", "<0xE2>", "<0x82>", f"{SPACE}b", "<0xFF>", "<0xC3>", "<0xA9>"]
    assert merged(pieces, "sentencepiece") == ["a\ufffd", "b\ufffd\u00e9"]


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.booleans()), min_size=1))
def test_marks_of_subword_nmt_give_the_words_of_fairseq(drawn):
    pieces = [text + "@@" * continues for text, continues in drawn[:-1]] + [drawn[-1][0]]
    words = merged(pieces, "subword_nmt")
    assert words == post_process(" ".join(pieces), "subword_nmt").split()


@given(st.lists(st.tuples(st.booleans(), st.text("abc", max_size=3)), min_size=1))
def test_marks_of_sentencepiece_give_the_words_of_fairseq(drawn):
    pieces = [SPACE * starts + text or "x" for starts, text in drawn]
    assert merged(pieces, "sentencepiece") == [
        word for word in post_process(" ".join(pieces), "sentencepiece").split(" ") if word
    ] or not any(piece.replace(SPACE, "") for piece in pieces)


def test_without_subwords_each_token_is_a_word():
    assert merged(["a@@", f"{SPACE}b", "."], "none") == ["a@@", f"{SPACE}b", "."]


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        (["the", "cat"], "none"),
        ([f"{SPACE}the", "cat", f"{SPACE}a"], "sentencepiece"),
        (["th@@", "e", "cat"], "subword_nmt"),
        (["user@@", f"{SPACE}the", f"{SPACE}a"], "sentencepiece"),
    ],
)
def test_the_rule_is_found_in_the_symbols(symbols, expected):
    assert guess_subwords(symbols) == expected


def test_given_words_may_split_at_any_piece():
    """A treebank separates the full stop, which sentencepiece does not mark."""
    pieces = [f"{SPACE}the", f"{SPACE}m", "at", "."]
    assert match_words(pieces, ["the", "mat", "."], "sentencepiece") == [0, 1, 3]
    assert match_words(pieces, ["the", "mat."], "sentencepiece") == [0, 1]
    assert match_words(pieces, ["the", "ma", "t."], "sentencepiece") is None  # inside a piece
    assert match_words(pieces, ["the", "mat"], "sentencepiece") is None
    assert match_words(pieces, ["the", "mat", ".", "x"], "sentencepiece") is None


def test_an_unknown_piece_stands_for_any_characters():
    pieces = [f"{SPACE}the", SPACE, "<unk>", "s", f"{SPACE}sat"]
    assert merged(pieces, "sentencepiece") == ["the", "<unk>s", "sat"]
    assert match_words(pieces, ["the", "猫s", "sat"], "sentencepiece") == [0, 1, 4]
    assert match_words(pieces, ["a", "猫s", "sat"], "sentencepiece") is None
    assert match_words(pieces, ["the", "猫", "s", "sat"], "sentencepiece") == [0, 1, 3, 4]
    assert match_words(pieces, ["the", "sat"], "sentencepiece") is None
    # the mark of a word that continues is lost
    assert match_words(["<unk>", "ty-nine", "<unk>"], ["Twenty-nine", "cats"], "subword_nmt") == [
        0, 2
    ]  # fmt: skip
    assert match_words(["<unk>", "<unk>"], ["one"], "subword_nmt") == [0]


def test_a_space_without_characters_belongs_to_the_next_word():
    pieces = [SPACE, f"{SPACE}the", "cat", SPACE]
    assert word_starts(pieces, "sentencepiece") == [0]
    assert merged(pieces, "sentencepiece") == ["thecat"]
    assert word_starts([f"{SPACE}a", SPACE, f"{SPACE}b"], "sentencepiece") == [0, 1]
    assert word_starts([], "sentencepiece") == []
