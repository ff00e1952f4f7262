"""Label files: parses, alignments, boundaries and frequencies; how they match the words."""

import numpy as np
import pytest
from analysis.written_recordings import write_maps

from fairseq_lottery.analysis.roles.labels.alignments import alignment_of_attention, read_alignment
from fairseq_lottery.analysis.roles.labels.blocks import blocks_between, read_boundaries
from fairseq_lottery.analysis.roles.labels.dependencies import (
    has_relation,
    read_arcs,
    select_relations,
)
from fairseq_lottery.analysis.roles.labels.word_counts import read_frequencies
from fairseq_lottery.errors import LotteryError


def row(number, form, head, relation):
    return f"{number}\t{form}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_\n"


def test_relations_include_their_subtypes():
    found = [[(0, 1, "nsubj:pass"), (1, 2, "obj")]]
    assert select_relations(found, ()) == ["nsubj", "obj"]
    assert select_relations(found, ["nsubj:pass"]) == ["nsubj:pass"]
    assert has_relation("nsubj:pass", "nsubj")
    assert not has_relation("nsubj", "nsubj:pass")
    with pytest.raises(LotteryError, match="no arc has the relation det.*nsubj, nsubj:pass, obj"):
        select_relations(found, ["obj", "det"])


def a_recording(tmp_path, name="r", **more):
    source, target = ["a b c", "d e", "a a f"], ["x y", "z z z", "y"]
    return write_maps(tmp_path / name, source, target, **more)


def test_every_arc_between_two_words_counts(tmp_path):
    # "zum" has the arcs of "zu" and of "dem"; the full stop is part of the last word
    text = "1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n" + row(1, "zu", 3, "case") + row(2, "dem", 3, "det")
    text += row(3, "Haus", 0, "root") + row(4, ".", 3, "punct") + "\n"
    (tmp_path / "tree").write_text(text)
    recording = write_maps(tmp_path / "r", ["zum Haus."])
    assert read_arcs(tmp_path / "tree", recording, "source") == [((0, 1, "case"), (0, 1, "det"))]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("1\tEr\t0\n", "3 columns"),
        (row("x", "Er", 0, "root"), "ID 'x'"),
        (row(2, "Er", 0, "root"), "ID '2', expected 1"),
        (row(1, "Er", "_", "root"), "HEAD '_'"),
        (row(1, "Er", "9" * 5000, "root"), "head '999"),
        (row(1, "Er", 2, "nsubj"), "head '2'"),
    ],
)
def test_malformed_parses(tmp_path, text, sentence):
    recording = a_recording(tmp_path)
    (tmp_path / "bad").write_text(text + "\n")
    with pytest.raises(LotteryError, match=sentence):
        read_arcs(tmp_path / "bad", recording, "source")
    with pytest.raises(LotteryError, match="cannot be read"):
        read_arcs(tmp_path / "none", recording, "source")


def test_labels_pair_with_all_sentences_or_the_recorded_ones(tmp_path):
    recording = a_recording(tmp_path, of=5)
    lines = ["0-0 2-1", "", "2-0", "7-7", "8-8"]
    (tmp_path / "all").write_text("\n".join(lines) + "\n")
    (tmp_path / "recorded").write_text("\n".join(lines[:3]) + "\n")
    (tmp_path / "four").write_text("\n".join(lines[:4]) + "\n")
    for name in ("all", "recorded"):
        found = read_alignment(tmp_path / name, recording)
        assert [one.tolist() for one in found] == [[[0, 0], [1, 2]], [], [[0, 2]]]
    with pytest.raises(LotteryError, match="has 4 sentences, expected all 5 .*or the 3"):
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
    with pytest.raises(LotteryError, match=r"sentence 2 of valid \(source\) has 'd' as word 1"):
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
    other = write_maps(tmp_path / "o", ["q"], ["r"], weights="b")
    with pytest.raises(LotteryError, match="different source words"):
        alignment_of_attention(other, recording)


def test_separators_belong_to_no_block_and_empty_blocks_do_not_count():
    assert blocks_between(np.array([0, 0, 1, 0], dtype=bool)).tolist() == [0, 0, -1, 1]
    marks = np.array([1, 0, 1, 1, 0, 1], dtype=bool)
    assert blocks_between(marks).tolist() == [-1, 0, -1, -1, 1, -1]
    assert blocks_between(np.zeros(1, dtype=bool)).tolist() == [0]


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
