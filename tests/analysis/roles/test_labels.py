"""Label files: parses, alignments, boundaries and frequencies; how they match the words."""

import numpy as np
import pytest
from recordings import write_recording

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.roles.labels.alignments import alignment_of_attention, read_alignment
from fairseq_lottery.analysis.roles.labels.blocks import blocks_by_separator, read_boundaries
from fairseq_lottery.analysis.roles.labels.dependencies import (
    Arc,
    arcs,
    read_arcs,
    read_parses,
    select_relations,
)
from fairseq_lottery.analysis.roles.labels.word_counts import read_frequencies
from fairseq_lottery.errors import LotteryError


def row(number, form, head, relation):
    return f"{number}\t{form}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_\n"


#: with a multiword token, an empty node and a final full stop
ZUM = (
    "# sent_id = 1\n"
    + row(1, "Er", 2, "nsubj")
    + row(2, "geht", 0, "root")
    + "3-4\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + row(3, "zu", 5, "case")
    + row(4, "dem", 5, "det")
    + row(5, "Haus", 2, "obl")
    + "5.1\tgeht\t_\t_\t_\t_\t_\t_\t_\t_\n"
    + row(6, ".", 2, "punct")
    + "\n"
)


@pytest.fixture
def parse(tmp_path):
    (tmp_path / "zum.conllu").write_text(ZUM)
    (found,) = read_parses(tmp_path / "zum.conllu")
    return found


def test_multiword_tokens_are_one_surface_token(parse):
    assert parse.forms == ("Er", "geht", "zum", "Haus", ".")
    assert parse.surface == (0, 1, 2, 2, 3, 4)
    assert parse.heads == (2, 0, 5, 5, 2, 2)


def test_arcs_are_between_words_of_the_recording(parse):
    expected = [Arc(0, 1, "nsubj"), Arc(2, 3, "case"), Arc(2, 3, "det"), Arc(3, 1, "obl")]
    assert arcs(parse, "Er geht zum Haus .".split()) == [*expected, Arc(4, 1, "punct")]
    # the full stop is part of the last word
    assert arcs(parse, "Er geht zum Haus.".split()) == [*expected, Arc(3, 1, "punct")]
    assert arcs(parse, "Er <unk> zum Haus .".split()) is not None
    assert arcs(parse, "Er geht zu dem Haus .".split()) is None
    assert arcs(parse, "Er geht zum Haus . .".split()) is None


def test_relations_include_their_subtypes():
    found = [[Arc(0, 1, "nsubj:pass"), Arc(1, 2, "obj")]]
    assert select_relations(found, ()) == ["nsubj", "obj"]
    assert select_relations(found, ["nsubj:pass"]) == ["nsubj:pass"]
    assert Arc(0, 1, "nsubj:pass").has_relation("nsubj")
    assert not Arc(0, 1, "nsubj").has_relation("nsubj:pass")
    with pytest.raises(LotteryError, match="no arc has the relation det.*nsubj, nsubj:pass, obj"):
        select_relations(found, ["obj", "det"])


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("1\tEr\t0\n", "3 columns"),
        (row("x", "Er", 0, "root"), "ID 'x'"),
        (row(2, "Er", 0, "root"), "ID 2 is out of order"),
        (row(1, "Er", "_", "root"), "HEAD '_'"),
        (row(1, "Er", "9" * 5000, "root"), "HEAD '999"),
        (row(1, "Er", 2, "nsubj"), "HEAD 2|HEAD '2'"),
    ],
)
def test_malformed_parses(tmp_path, text, sentence):
    (tmp_path / "bad").write_text(text + "\n")
    with pytest.raises(LotteryError, match=sentence):
        read_parses(tmp_path / "bad")
    with pytest.raises(LotteryError, match="cannot be read"):
        read_parses(tmp_path / "none")


def a_recording(tmp_path, name="r", **more):
    source, target = ["a b c", "d e", "a a f"], ["x y", "z z z", "y"]
    return Recording.open(write_recording(tmp_path / name, source, target, **more))


def test_labels_pair_with_all_sentences_or_the_recorded_ones(tmp_path):
    recording = a_recording(tmp_path, of=5)
    lines = ["0-0 2-1", "", "2-0", "7-7", "8-8"]
    (tmp_path / "all").write_text("\n".join(lines) + "\n")
    (tmp_path / "recorded").write_text("\n".join(lines[:3]) + "\n")
    (tmp_path / "four").write_text("\n".join(lines[:4]) + "\n")
    for name in ("all", "recorded"):
        found = read_alignment(tmp_path / name, recording)
        assert [one.tolist() for one in found] == [[[0, 0], [1, 2]], [], [[0, 2]]]
    with pytest.raises(LotteryError, match="has 4 sentences, expected 5 .*or 3"):
        read_alignment(tmp_path / "four", recording)


@pytest.mark.parametrize(
    "line, sentence", [("0-2", "3 source and 2 target"), ("3-0", "3 source"), ("0:1", "'0:1'")]
)
def test_alignments_of_other_words(tmp_path, line, sentence):
    (tmp_path / "bad").write_text(f"{line}\n\n\n")
    with pytest.raises(LotteryError, match=sentence):
        read_alignment(tmp_path / "bad", a_recording(tmp_path))


def test_parses_of_other_words_name_the_sentence(tmp_path):
    text = "".join(row(n, form, 0, "root") for n, form in enumerate("abc", 1)) + "\n"
    (tmp_path / "bad").write_text(text + text + text)
    with pytest.raises(LotteryError, match="source words of sentence 2: expected 'd e'"):
        read_arcs(tmp_path / "bad", a_recording(tmp_path), "source")


def test_the_alignment_of_another_model_is_the_largest_mean_of_its_heads(tmp_path):
    def maps(kind, layer, place, heads, queries, keys):
        # layer 1: head 1 prefers the first key, head 2 the last word, more so; </s> gets most
        weights = np.full((heads, queries, keys + 1), 0.1)
        weights[0, :, 0], weights[1, :, keys - 1], weights[:, :, -1] = 0.3, 0.4, 0.9
        return weights

    recording = a_recording(tmp_path)
    teacher = a_recording(tmp_path, "t", maps=maps, layers=2, weights="b")
    lasts = [[[0, 2], [1, 2]], [[0, 1], [1, 1], [2, 1]], [[0, 2]]]
    assert [one.tolist() for one in alignment_of_attention(teacher, recording)] == lasts
    kept = a_recording(tmp_path, "p", maps=maps, weights="b", pruned=[("enc_dec", 1, 2)])
    found = alignment_of_attention(kept, recording)
    assert [one[:, 1].tolist() for one in found] == [[0, 0], [0, 0, 0], [0]]
    with pytest.raises(LotteryError, match="--alignment-layer 3"):
        alignment_of_attention(teacher, recording, 3)
    with pytest.raises(LotteryError, match="same model"):
        alignment_of_attention(recording, recording)
    other = write_recording(tmp_path / "o", ["q"], ["r"], weights="b")
    with pytest.raises(LotteryError, match="different source words"):
        alignment_of_attention(Recording.open(other), recording)


def test_separators_belong_to_no_block_and_empty_blocks_do_not_count():
    assert blocks_by_separator("a b | c".split(), "|").tolist() == [0, 0, -1, 1]
    assert blocks_by_separator("| a | | b |".split(), "|").tolist() == [-1, 0, -1, -1, 1, -1]
    assert blocks_by_separator(["a"], "|").tolist() == [0]


def test_boundaries_are_first_words(tmp_path):
    recording = a_recording(tmp_path)
    (tmp_path / "b").write_text("0 2\n0\n0 1 2\n")
    found = read_boundaries(tmp_path / "b", recording, "source")
    assert [one.tolist() for one in found] == [[0, 0, 1], [0, 0], [0, 1, 2]]
    for line in ("1 2", "0 3", "0 2 1", "0 x", "", "0 0"):
        (tmp_path / "b").write_text(f"0\n{line}\n0\n" if line != "0 3" else "0 3\n0\n0\n")
        with pytest.raises(LotteryError, match="must be increasing"):
            read_boundaries(tmp_path / "b", recording, "source")


def test_frequencies_are_of_words(tmp_path):
    recording = a_recording(tmp_path)
    (tmp_path / "f").write_text("a 9\nb 2\nc 1\nnew york 4\n")
    assert read_frequencies(tmp_path / "f", recording) == {"a": 9, "b": 2, "c": 1, "new york": 4}
    (tmp_path / "f").write_text("a 9\n")
    with pytest.raises(LotteryError, match="lacks more than half"):
        read_frequencies(tmp_path / "f", recording)
    (tmp_path / "f").write_text("a\n")
    with pytest.raises(LotteryError, match="line 1"):
        read_frequencies(tmp_path / "f", recording)
