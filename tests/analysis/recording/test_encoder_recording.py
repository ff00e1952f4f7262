"""Recordings of encoders: words and delimiters, against fairseq's hidden states and numpy."""

import dataclasses

import numpy as np
import pytest
import torch
from analysis import encoders
from analysis.encoders import HEADS, LAYERS, loaded, marked, masked_task, pair_task, roberta
from analysis.written_recordings import write_recording

from fairseq_lottery.adapters import SENTENCE_PREDICTION
from fairseq_lottery.analysis import Recording, read_corpus, record
from fairseq_lottery.analysis.recording.encoder_input import delimited_words
from fairseq_lottery.analysis.recording.record import CLS, SEP
from fairseq_lottery.compat import numpy_has_compat
from fairseq_lottery.errors import LotteryError

FIRST = marked(["ab c", "a", "cab bc a b", "ba ba"])
SECOND = marked(["b", "ca b cc", "a", "c ab ab ab"])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return pair_task(tmp_path_factory.mktemp("pairs"), FIRST, SECOND)


@pytest.fixture(scope="module")
def recording(pairs, tmp_path_factory):
    file = loaded(pairs)
    return record(file, read_corpus(file), tmp_path_factory.mktemp("r") / "pairs", 40)


def word(pieces):
    return "".join(pieces).replace("\u2581", "")


def words_of(line):
    return "".join(line).replace("\u2581", " ").split()


def spans(pieces):
    """First and last piece, exclusive, of each token of an example."""
    starts = [
        n for n, piece in enumerate(pieces) if piece in (CLS, SEP) or piece.startswith("\u2581")
    ]
    return list(zip(starts, [*starts[1:], len(pieces)]))


def pieces_of(number):
    """The input as fairseq documents it for pairs."""
    return [CLS, *FIRST[number], SEP, SEP, *SECOND[number], SEP]


def test_words_and_delimiters_are_in_the_order_of_the_input(recording, pairs):
    for number, tokens in enumerate(recording.tokens("source")):
        first, second = words_of(FIRST[number]), words_of(SECOND[number])
        assert tokens == [CLS, *first, SEP, SEP, *second, SEP]
        assert recording.words("source")[number] == [*first, *second]
        numbers = pairs.dataset("valid")[number]["net_input.src_tokens"].tolist()
        assert [pairs.source_dictionary[n] for n in numbers] == pieces_of(number)
    content = recording.record
    assert content.is_encoder and content.kinds == ("enc_self",) and recording.ends == 0
    assert content.counts == {"source": sum(len(words_of(line)) for line in FIRST + SECOND)}
    assert set(content.layers) == set(content.width) == {"encoder"}
    with pytest.raises(LotteryError, match="has no target words"):
        recording.words("target")


@pytest.mark.parametrize("number", range(4))
def test_values_are_merged_to_words(recording, pairs, number):
    """Words have activations; words and delimiters are queries and keys of attention."""
    pieces = pieces_of(number)
    tokens = [pairs.source_dictionary.index(piece) for piece in pieces]
    states, attention = encoders.run_alone(loaded(pairs).model, tokens)
    runs = spans(pieces)
    first = int(recording.lengths("source")[:number].sum())
    of_words = [run for run in runs if pieces[run[0]] not in (CLS, SEP)]
    for layer in range(LAYERS):
        stored = recording.activations("encoder", layer + 1)[first : first + len(of_words)]
        for row, (start, end) in zip(stored, of_words):
            assert np.allclose(row, states[layer][start:end].mean(axis=0), atol=1e-5)
        weights, norms = attention[layer]
        plain = recording.attention("enc_self", layer + 1)[number]
        weighted = recording.attention("enc_self", layer + 1, weighted=True)[number]
        stored_norms = recording.norms("enc_self", layer + 1)[number]
        assert plain.shape == weighted.shape == (HEADS, len(runs), len(runs))
        for i, rows in enumerate(runs):
            for j, columns in enumerate(runs):
                cells = weights[:, slice(*rows), slice(*columns)]
                assert np.allclose(plain[:, i, j], cells.sum(axis=2).mean(axis=1), atol=1e-5)
                sized = (cells * norms[:, None, slice(*columns)]).sum(axis=2).mean(axis=1)
                assert np.allclose(weighted[:, i, j], sized, atol=1e-4)
        for j, columns in enumerate(runs):
            expected = norms[:, slice(*columns)].mean(axis=1)
            assert np.allclose(stored_norms[:, j], expected, atol=1e-4)


def test_the_batch_does_not_matter(recording, pairs, tmp_path):
    file = loaded(pairs)
    alone = record(file, read_corpus(file), tmp_path / "alone", 16)
    assert np.allclose(
        alone.activations("encoder", 2), recording.activations("encoder", 2), atol=1e-5
    )
    both = zip(alone.attention("enc_self", 2), recording.attention("enc_self", 2))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in both)


def test_single_sentences_have_two_delimiters(tmp_path):
    file = loaded(pair_task(tmp_path / "data", FIRST))
    made = record(file, read_corpus(file), tmp_path / "r")
    assert made.tokens("source")[2] == [CLS, *words_of(FIRST[2]), SEP]


def test_masked_tokens_are_recorded_as_they_were(tmp_path):
    """The recording of masked_lm is that of the same sentences without any mask."""
    own = masked_task(tmp_path / "lm", FIRST, mask_prob=0.5)
    with numpy_has_compat():
        examples = [own.dataset("valid")[n] for n in range(4)]
    hidden = [one["net_input.src_tokens"] != one["target"] for one in examples]
    assert any((one["net_input.src_tokens"] == own.mask_idx).any() for one in examples)
    assert any(one["target"].ne(1).any() for one in examples) and any(h.any() for h in hidden)
    single = pair_task(tmp_path / "single", FIRST)
    model = roberta(single.source_dictionary)
    made = [
        record(loaded(task, model), read_corpus(loaded(task, model)), tmp_path / name)
        for task, name in ((own, "masked"), (single, "plain"))
    ]
    assert made[0].tokens("source") == made[1].tokens("source")
    assert made[0].record.words == made[1].record.words
    for layer in (1, 2):
        a, b = (one.activations("encoder", layer) for one in made)
        assert np.allclose(a, b, atol=1e-5)


def test_a_block_of_sentences_has_a_delimiter_after_each(tmp_path):
    task = masked_task(tmp_path / "lm", FIRST, sample_break_mode="complete")
    file = loaded(task)
    made = record(file, read_corpus(file), tmp_path / "r")
    assert len(made.tokens("source")) == 1
    expected = [CLS, *(token for line in FIRST for token in [*words_of(line), SEP])]
    assert made.tokens("source")[0] == expected


def test_the_last_layer_is_recorded_after_the_final_norm(tmp_path):
    task = pair_task(tmp_path / "data", FIRST)
    model = roberta(task.source_dictionary, encoder_normalize_before=True)
    file = loaded(task, model)
    made = record(file, read_corpus(file), tmp_path / "r")
    with torch.no_grad():
        tokens = task.dataset("valid")[1]["net_input.src_tokens"]
        features = model(tokens[None], features_only=True)[0][0]
    first = int(made.lengths("source")[:1].sum())
    assert np.allclose(made.activations("encoder", 2)[first], features[1], atol=1e-5)


def test_given_words_decide_and_words_end_at_delimiters(pairs, tmp_path):
    lines = [" ".join(words_of(a) + words_of(b)) for a, b in zip(FIRST, SECOND)]
    lines[0] = word(FIRST[0] + SECOND[0])  # one word across the delimiters
    lines[3] = lines[3].replace(" ", "", 1)  # one word of two, within the first sentence
    (tmp_path / "words").write_text("\n".join(lines) + "\n")
    corpus = read_corpus(loaded(pairs), files={"source": tmp_path / "words"})
    assert corpus.dropped == 1 and [one.number for one in corpus.sentences] == [1, 2, 3]
    assert corpus.sentences[2].words["source"] == lines[3].split()
    assert corpus.sentences[2].tokens["source"][:3] == [CLS, lines[3].split()[0], SEP]
    with pytest.raises(LotteryError, match="sentence_prediction.*leave --target-words out"):
        read_corpus(loaded(pairs), files={"target": tmp_path / "words"})


@pytest.mark.parametrize(
    ("pieces", "given", "expected"),
    [
        ([CLS, "a", "b", SEP], None, ([CLS, "a", "b", SEP], [0, 1, 2, 3], [0, 3])),
        (["a", SEP, "b"], None, (["a", SEP, "b"], [0, 1, 2], [1])),  # cut at both ends
        ([CLS, SEP, SEP, "b"], None, ([CLS, SEP, SEP, "b"], [0, 1, 2, 3], [0, 1, 2])),
        ([CLS, SEP], None, None),
        ([CLS, "<", "s>", SEP], ["<s>"], None),  # a word like a delimiter
        ([CLS, "a", "b", SEP, "c"], ["ab", "c"], ([CLS, "ab", SEP, "c"], [0, 1, 3, 4], [0, 2])),
        ([CLS, "a", "b", SEP, "c"], ["a", "bc"], None),
    ],
)  # fmt: skip
def test_tokens_of_an_example(pieces, given, expected):
    assert delimited_words(pieces, "none", given) == expected


def test_a_task_without_encoder_inputs_is_refused(pairs):
    file = loaded(pairs)
    stacks = {"decoder": SENTENCE_PREDICTION.stacks["encoder"]}
    file.evaluation.adapter = dataclasses.replace(SENTENCE_PREDICTION, stacks=stacks)
    with pytest.raises(LotteryError, match="neither translate nor are encoders"):
        read_corpus(file)


def test_other_words_and_lengths_are_refused(recording, tmp_path):
    def written(name, tokens, **record):
        return write_recording(tmp_path / name, {"source": tokens}, {}, **record)

    tokens = [[CLS, "a", "b", SEP], [CLS, "c", SEP]]
    made = written("good", tokens)
    assert made.words("source") == [["a", "b"], ["c"]]
    assert [one.tolist() for one in made.are_words("source")] == [[0, 1, 1, 0], [0, 1, 0]]
    for name, own, problem in (
        ("counts", {"counts": {"source": 7}}, "2 sentences and 3 words"),
        ("width", {"width": {"encoder": 4, "decoder": 4}}, "width has"),
        ("sides", {"subwords": {"source": "none", "target": "none"}}, "subwords has"),
    ):
        with pytest.raises(LotteryError, match=problem):
            written(name, tokens, **own)
    with pytest.raises(LotteryError, match="a sentence without words"):
        written("empty", [*tokens, [CLS, SEP]])
    assert Recording.open(recording.folder).record == recording.record
