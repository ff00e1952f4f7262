"""Faster beam search against fairseq's own: all hypotheses of all sentences."""

import math
from collections import Counter
from functools import partial

import pytest
import torch
from engines import always, built
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import SequenceGeneratorWithAlignment
from random_transformers import Task, batches, transformer
from searches import EOS, PAD, UNK, assert_same, sample_of, translate
from searches import compare as compare_with
from searches import generators as generators_with

from fairseq_lottery.decoding.accelerated_generator import AcceleratedGenerator
from fairseq_lottery.sparse import sparse_decoding


@pytest.fixture(autouse=True)
def sparse_is_faster(monkeypatch):
    monkeypatch.setattr(sparse_decoding, "kept_choices", always)


@pytest.fixture(params=[pytest.param("compiled", marks=built), "fused"])
def decoder(request):
    return request.param


@pytest.fixture
def generators(decoder):
    return partial(generators_with, decoder=decoder)


@pytest.fixture
def compare(decoder):
    return partial(compare_with, decoder=decoder)


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize("beam, size", [(1, 1), (1, 20), (2, 20), (3, 7), (5, 20), (10, 5)])
def test_hypotheses_are_those_of_fairseq(compare, density, beam, size):
    found = compare([transformer(density)], 60, size, beam_size=beam)
    assert len({tuple(h["tokens"].tolist()) for one in found for h in one}) > len(found) / 5


@pytest.mark.parametrize("left_pad", [True, False])
def test_padding_at_either_side(compare, left_pad):
    compare([transformer(0.3)], left_pad=left_pad)


#: the most common token of the translations
COMMON = "the most common token"


@pytest.mark.parametrize(
    "options, base",
    [
        ({"len_penalty": 0.3}, {"eos": COMMON}),
        ({"normalize_scores": False}, {}),
        ({"unk_penalty": -4.0}, {}),
        ({"unk_penalty": -2.0}, {"unk_penalty": -4.0}),
        ({"temperature": 0.5}, {}),
        ({"temperature": 3.0}, {}),
        ({"min_len": 6}, {"eos": COMMON}),
        ({"max_len_a": 0.5, "max_len_b": 3}, {}),
        ({"max_len_b": 1}, {}),
        ({"max_len": 5}, {}),
        ({"match_source_len": True}, {}),
        ({"tokens_to_suppress": COMMON}, {}),
        ({"eos": COMMON}, {}),
        ({"beam_size": 4, "temperature": 1.3, "min_len": 3, "unk_penalty": -2, "len_penalty": 2.0},
         {"eos": COMMON}),
    ],
    ids=str,
)  # fmt: skip
def test_options_of_the_generator(compare, options, base):
    """And each one makes a difference."""
    models = [transformer(0.3)]
    tokens = Counter(t for one in compare(models) for h in one for t in h["tokens"].tolist()[:-1])
    common = tokens.most_common(1)[0][0]
    values = {"eos": common, "tokens_to_suppress": (Task.target_dictionary[common],)}
    base, options = (
        {name: values[name] if value is COMMON else value for name, value in one.items()}
        for one in (base, options)
    )
    results = (compare(models, **base), compare(models, **{**base, **options}))
    before, after = (
        [(h["tokens"].tolist(), float(h["score"])) for one in found for h in one]
        for found in results
    )
    assert before != after


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("temperature, least", [(1.0, 0.8), (0.2, 0.2)])
def test_ensembles(compare, count, temperature, least):
    models = [transformer(0.3, seed) for seed in range(count)]
    compare(models, least=least, temperature=temperature)
    compare(models, 20, 20, beam_size=1, unk_penalty=-3.0)


@pytest.mark.parametrize("soft", ["hard", "soft"])
def test_alignments(generators, soft):
    plain, fast = generators(
        [transformer(0.3)], SequenceGeneratorWithAlignment, print_alignment=soft
    )
    assert isinstance(fast, AcceleratedGenerator)
    for tokens, lengths in batches(40, 20):
        sample = sample_of(tokens, lengths)
        ours, theirs = translate(fast, sample), translate(plain, sample)
        assert_same(ours, theirs)
        pairs = [(a, b) for one, other in zip(ours, theirs) for a, b in zip(one, other)]
        for a, b in pairs:
            first, second = (
                torch.tensor([[float(x) for x in row] for row in h["alignment"]]) for h in (a, b)
            )
            assert torch.allclose(first, second, atol=1e-4)
        assert any(len(a["alignment"]) for a, _ in pairs)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("ensemble", [1, 2])
def test_prefixes_of_several_lengths(generators, beam, ensemble):
    """One of them ends with the end symbol, so its sentence ends there."""
    models = [transformer(0.3, seed) for seed in range(ensemble)]
    plain, fast = generators(models, beam_size=beam, min_len=4, unk_penalty=1.0)
    prefix = torch.full((20, 3), PAD)
    prefix[0] = torch.tensor([5, 6, 7])
    prefix[1, :2] = torch.tensor([9, UNK])
    prefix[2, :2] = torch.tensor([8, EOS])
    prefix[3, 0] = 11
    for tokens, lengths in batches(40, 20):
        sample = sample_of(tokens, lengths)
        ours = translate(fast, sample, prefix_tokens=prefix.clone())
        assert_same(ours, translate(plain, sample, prefix_tokens=prefix.clone()))
        assert ours[0][0]["tokens"].tolist()[:3] == [5, 6, 7]
        assert [h["tokens"].tolist() for h in ours[2]] == [[8, EOS]] * beam


def test_another_first_symbol(generators):
    plain, fast = generators([transformer(0.3)])
    for tokens, lengths in batches(20, 20):
        sample = sample_of(tokens, lengths)
        ours = translate(fast, sample, bos_token=7)
        assert_same(ours, translate(plain, sample, bos_token=7))
        assert [h["score"] for h in ours[0]] != [h["score"] for h in translate(fast, sample)[0]]


@pytest.mark.parametrize("size", [2, 3])
def test_repeated_n_grams_are_blocked(generators, size):
    """fairseq's own code for a CPU compares the end of the buffer, which is padding.

    Given the tokens so far only, it blocks n-grams.
    """
    plain, fast = generators([transformer(0.3)], no_repeat_ngram_size=size, max_len_b=20)
    plain.repeat_ngram_blocker = Blocker(size)
    free = generators([transformer(0.3)], max_len_b=20)[0]
    repeated = 0
    for tokens, lengths in batches(60, 20):
        sample = sample_of(tokens, lengths)
        ours = translate(fast, sample)
        assert_same(ours, translate(plain, sample))
        for one in ours:
            for hypothesis in one:
                assert repetitions(hypothesis, size) == 0
        repeated += sum(repetitions(h, size) for one in translate(free, sample) for h in one)
    assert repeated > 0


class Blocker(NGramRepeatBlock):
    def forward(self, tokens, lprobs, bsz, beam_size, step):
        return super().forward(tokens[:, : step + 1], lprobs, bsz, beam_size, step)


def repetitions(hypothesis, size):
    tokens = [EOS, *hypothesis["tokens"].tolist()[:-1]]
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return len(grams) - len(set(grams))


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder_normalize_before": True, "decoder_normalize_before": True},
        {"activation_fn": "gelu"},
        {"activation_fn": "gelu_accurate"},
        {"activation_fn": "tanh"},
        {"decoder_learned_pos": True, "layernorm_embedding": True, "encoder_learned_pos": True},
        {"no_token_positional_embeddings": True, "no_scale_embedding": True},
        {"share_all_embeddings": False},
        {"share_all_embeddings": False, "decoder_input_dim": 24, "decoder_output_dim": 40},
        {"decoder_embed_dim": 48, "share_all_embeddings": False, "decoder_ffn_embed_dim": 20},
        {"decoder_attention_heads": 8, "encoder_embed_dim": 40, "share_all_embeddings": False},
        {"decoder_layers": 1, "max_target_positions": 9},
    ],
    ids=str,
)
def test_other_transformers(compare, changes):
    compare([transformer(0.5, **changes)])


def test_wide_heads_and_many_hypotheses(compare):
    """Heads of 160 floats, and 240 hypotheses in several tiles."""
    model = transformer(
        0.5, encoder_embed_dim=320, decoder_embed_dim=320, decoder_ffn_embed_dim=72,
        encoder_ffn_embed_dim=72,
    )  # fmt: skip
    compare([model], 60, 60, beam_size=4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_searches_have_the_same_bits(generators, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    _, fast = generators([transformer(0.3), transformer(0.3, 2)])
    (tokens, lengths), *_ = batches(20, 20)
    first, second = (translate(fast, sample_of(tokens, lengths)) for _ in range(2))
    torch.set_num_threads(before)
    for one, other in zip(first, second):
        for a, b in zip(one, other):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_without_lengths(generators):
    plain, fast = generators([transformer(0.3)], match_source_len=True)
    (tokens, _), *_ = batches(20, 20)
    sample = {"net_input": {"src_tokens": tokens}}
    plain_sample = sample_of(tokens, (tokens.ne(EOS) & tokens.ne(PAD)).sum(dim=1))
    assert_same(translate(fast, sample), translate(plain, plain_sample))


def test_a_model_whose_scores_are_nan(generators):
    _, fast = generators([transformer(0.3)])
    (decoder,) = fast.decoders
    decoder._decoder.layers[0].fc1.bias.data.fill_(math.nan)
    (tokens, lengths), *_ = batches(20, 20)
    with pytest.raises(RuntimeError, match="the scores of the model may be NaN"):
        translate(fast, sample_of(tokens, lengths))
