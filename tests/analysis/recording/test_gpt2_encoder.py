"""Words of GPT-2's byte pairs, against fairseq's own encoder."""

import json

import pytest
from analysis.encoders import loaded, pair_task
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.analysis import read_corpus
from fairseq_lottery.analysis.recording.gpt2_encoder import gpt2_surfaces, read_gpt2_encoder
from fairseq_lottery.analysis.recording.words import guess_subwords, merge, word_starts
from fairseq_lottery.errors import LotteryError

CHARACTERS = bytes_to_unicode()


def pieces_of(text, cuts=()):
    """The byte pairs of a text, cut before some of its bytes; a space starts a piece."""
    content = text.encode()
    pieces, start = [], 0
    for place in range(1, len(content) + 1):
        if place == len(content) or place in cuts or content[place : place + 1] == b" ":
            pieces.append("".join(CHARACTERS[byte] for byte in content[start:place]))
            start = place
    return pieces


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1)


@PROPERTY
@given(st.lists(WORD, min_size=1), st.sets(st.integers(1, 60)))
def test_words_are_those_of_the_text_wherever_it_is_cut(words, cuts):
    """Also where the bytes of a character are in several pieces."""
    pieces = pieces_of(" ".join(words), cuts)
    assert merge(pieces, word_starts(pieces, "gpt2"), "gpt2") == words


def test_a_character_belongs_to_the_piece_with_its_last_byte():
    assert gpt2_surfaces(pieces_of("é a", {1})) == ["", "é", "a"]
    assert gpt2_surfaces(["\u0120<unk>", "<unk>"]) == ["<unk>", "<unk>"]


def test_symbols_show_the_rule():
    assert guess_subwords(["a", "\u0120b", "\u0120c"]) == "gpt2"
    assert guess_subwords(["\u2581a", "b"]) == "sentencepiece"
    assert guess_subwords(["5", "6"]) == "none"


def test_numbers_of_a_dictionary_are_recorded_as_words(tmp_path):
    """The toy's dictionary has pieces; here the encoder maps them to byte pairs."""
    first = ["\u25811", "2", "\u25813"]
    task = pair_task(tmp_path / "data", [first])
    pairs = {"the": "\u25811", "ir": "2", "\u0120caf\u00c3\u00a9": "\u25813"}
    (tmp_path / "encoder.json").write_text(json.dumps({p: 7 for p in pairs}))
    with pytest.raises(LotteryError, match="missing.json cannot be read"):
        read_corpus(loaded(task), gpt2_encoder=tmp_path / "missing.json")
    task.source_dictionary.symbols = [
        {"\u25811": "11", "2": "12", "\u25813": "13"}.get(symbol, symbol)
        for symbol in task.source_dictionary.symbols
    ]
    numbers = {"the": 11, "ir": 12, "\u0120caf\u00c3\u00a9": 13, "<s>": 14}
    (tmp_path / "encoder.json").write_text(json.dumps(numbers))
    corpus = read_corpus(loaded(task), gpt2_encoder=tmp_path / "encoder.json", subwords="gpt2")
    assert corpus.sentences[0].tokens["source"] == ["<s>", "their", "café", "</s>"]
    assert corpus.sentences[0].starts["source"] == [0, 1, 3, 4]


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"a": "1"}', '{"a": true}', "{", '{"a": 1, "a": 2}']
)
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "encoder.json").write_text(content)
    with pytest.raises(LotteryError, match="encoder.json"):
        read_gpt2_encoder(tmp_path / "encoder.json")
