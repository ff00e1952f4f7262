"""Compiled beam search against fairseq's own: all hypotheses of all sentences."""

import argparse
import copy
import math
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engines import always, built
from fairseq import search
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm import base_architecture as lstm_architecture
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from random_transformers import WORDS, Task, batches, transformer

from fairseq_lottery.decoding import accelerate, acceleration, compiled_decoder
from fairseq_lottery.decoding.compiled_decoder import CompiledDecoder
from fairseq_lottery.decoding.compiled_generator import CompiledGenerator
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.beam_search import _BeamSearchWithSlack
from fairseq_lottery.sparse import sparse_decoding
from fairseq_lottery.sparse.sparse_matrix import Matrix, SparseMatrix

pytestmark = built
EOS, UNK, PAD = 2, 3, 1


@pytest.fixture(autouse=True)
def sparse_is_faster(monkeypatch):
    monkeypatch.setattr(sparse_decoding, "kept_choices", always)


def generators(models, kind=SequenceGenerator, **options):
    """fairseq's generator, and a compiled one with copies of the models."""
    options = {"beam_size": 5, "max_len_b": 12, **options}
    plain = kind(models, Task.target_dictionary, **options)
    copies = copy.deepcopy(models)
    fast = kind(copies, Task.target_dictionary, **options)
    accelerate(fast, copies)
    return plain, fast


def translate(generator, sample, **inputs):
    return generator.generate(generator.model.models, sample, **inputs)


def sample_of(tokens, lengths):
    return {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}


#: scores of two hypotheses that differ by less may change places
TIE = 1e-4
#: error of a log-probability at temperature 1
ROUNDING = 2e-6


def assert_same(ours, theirs):
    """Compare lists of hypotheses, best first."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        scores = [float(h["score"]) for h in other]
        assert [float(h["score"]) for h in one] == pytest.approx(scores, rel=1e-5, abs=1e-4)
        for place, (a, b) in enumerate(zip(one, other)):
            assert a.keys() == b.keys()
            ties = [s for i, s in enumerate(scores) if i != place and abs(scores[place] - s) < TIE]
            if ties or scores[place] == -math.inf:
                continue
            assert a["tokens"].tolist() == b["tokens"].tolist()
            for key in ("positional_scores", "attention"):
                assert a[key].dtype == b[key].dtype and a[key].shape == b[key].shape
                assert torch.allclose(a[key], b[key], rtol=1e-5, atol=1e-4), key
    same = [a["tokens"].equal(b["tokens"]) for x, y in zip(ours, theirs) for a, b in zip(x, y)]
    assert sum(same) >= 0.9 * len(same)


def compare(models, count=60, size=20, left_pad=True, least=0.8, **options):
    """Compare all hypotheses, and return those of the compiled search.

    Sentences in which rounding may decide are not compared.
    """
    plain, fast = generators(models, **options)
    assert isinstance(fast, CompiledGenerator)
    rounding = ROUNDING / plain.temperature
    hypotheses, compared = [], 0
    for tokens, lengths in batches(count, size, left_pad):
        sample = sample_of(tokens, lengths)
        ours = translate(fast, sample)
        words, cpu = Task.target_dictionary, torch.device("cpu")
        plain.search = _BeamSearchWithSlack(words, plain.eos, size, False, cpu)
        theirs = translate(plain, sample)
        clear = [n for n in range(size) if plain.search.slack[n] > rounding]
        assert_same([ours[n] for n in clear], [theirs[n] for n in clear])
        hypotheses += ours
        compared += len(clear)
    assert compared >= least * count
    return hypotheses


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize("beam, size", [(1, 1), (1, 20), (2, 20), (3, 7), (5, 20), (10, 5)])
def test_hypotheses_are_those_of_fairseq(density, beam, size):
    found = compare([transformer(density)], 60, size, beam_size=beam)
    assert len({tuple(h["tokens"].tolist()) for one in found for h in one}) > len(found) / 5


@pytest.mark.parametrize("left_pad", [True, False])
def test_padding_at_either_side(left_pad):
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
def test_options_of_the_generator(options, base):
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
def test_ensembles(count, temperature, least):
    models = [transformer(0.3, seed) for seed in range(count)]
    compare(models, least=least, temperature=temperature)
    compare(models, 20, 20, beam_size=1, unk_penalty=-3.0)


@pytest.mark.parametrize("soft", ["hard", "soft"])
def test_alignments(soft):
    plain, fast = generators(
        [transformer(0.3)], SequenceGeneratorWithAlignment, print_alignment=soft
    )
    assert isinstance(fast, CompiledGenerator)
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
def test_prefixes_of_several_lengths(beam, ensemble):
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


def test_another_first_symbol():
    plain, fast = generators([transformer(0.3)])
    for tokens, lengths in batches(20, 20):
        sample = sample_of(tokens, lengths)
        ours = translate(fast, sample, bos_token=7)
        assert_same(ours, translate(plain, sample, bos_token=7))
        assert [h["score"] for h in ours[0]] != [h["score"] for h in translate(fast, sample)[0]]


@pytest.mark.parametrize("size", [2, 3])
def test_repeated_n_grams_are_blocked(size):
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
def test_other_transformers(changes):
    compare([transformer(0.5, **changes)])


def test_wide_heads_and_many_hypotheses():
    """Heads of 160 floats, and 240 hypotheses in several tiles."""
    model = transformer(
        0.5, encoder_embed_dim=320, decoder_embed_dim=320, decoder_ffn_embed_dim=72,
        encoder_ffn_embed_dim=72,
    )  # fmt: skip
    compare([model], 60, 60, beam_size=4)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_searches_have_the_same_bits(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    _, fast = generators([transformer(0.3), transformer(0.3, 2)])
    (tokens, lengths), *_ = batches(20, 20)
    first, second = (translate(fast, sample_of(tokens, lengths)) for _ in range(2))
    torch.set_num_threads(before)
    for one, other in zip(first, second):
        for a, b in zip(one, other):
            assert all(torch.equal(a[key], b[key]) for key in a)


def test_without_lengths():
    plain, fast = generators([transformer(0.3)], match_source_len=True)
    (tokens, _), *_ = batches(20, 20)
    sample = {"net_input": {"src_tokens": tokens}}
    plain_sample = sample_of(tokens, (tokens.ne(EOS) & tokens.ne(PAD)).sum(dim=1))
    assert_same(translate(fast, sample), translate(plain, plain_sample))


def test_a_model_whose_scores_are_nan():
    _, fast = generators([transformer(0.3)])
    decoder: CompiledDecoder = fast.decoders[0]
    decoder._decoder.layers[0].fc1.bias.data.fill_(math.nan)
    (tokens, lengths), *_ = batches(20, 20)
    with pytest.raises(RuntimeError, match="the scores of the model may be NaN"):
        translate(fast, sample_of(tokens, lengths))


def refused(caplog, models=None, kind=SequenceGenerator, **options):
    """Return the generators and the reason why fairseq's own search is used."""
    caplog.clear()
    with caplog.at_level("INFO", "fairseq_lottery"):
        plain, fast = generators(models or [transformer(0.3)], kind, **options)
    assert not isinstance(fast, CompiledGenerator)
    (line,) = [line for line in caplog.messages if "own search" in line]
    return plain, fast, line


def test_other_searches_are_those_of_fairseq(caplog):
    words = Task.target_dictionary
    strategies = {
        "Sampling": search.Sampling(words, sampling_topk=3),
        "DiverseBeamSearch": search.DiverseBeamSearch(words, num_groups=5, diversity_strength=0.5),
    }
    for name, strategy in strategies.items():
        plain, fast, line = refused(caplog, search_strategy=strategy)
        assert line == f"fairseq's own search is used, because the search is a {name}"
        (tokens, lengths), *_ = batches(20, 20)
        found = []
        for generator in (plain, fast):
            torch.manual_seed(3)
            found.append(translate(generator, sample_of(tokens, lengths)))
        assert_same(*found)


@pytest.mark.parametrize("beam", [40, 79, 200])
def test_a_beam_that_is_wide_for_the_vocabulary(beam, caplog):
    plain, fast, line = refused(caplog, beam_size=beam)
    assert line.endswith(f"because the beam is wide for {WORDS} types")
    (tokens, lengths), *_ = batches(4, 4)
    ours, theirs = (translate(g, sample_of(tokens, lengths)) for g in (fast, plain))
    assert_same([one[:5] for one in ours], [one[:5] for one in theirs])


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"scale_heads": True}, "the model has c_attn"),
        ({"scale_attn": True}, "the model has attn_ln"),
        ({"scale_fc": True}, "the model has ffn_layernorm"),
        ({"scale_resids": True}, "the model has w_resid"),
        ({"cross_self_attention": True}, "the model has cross_self_attention"),
        ({"activation_fn": "relu_squared"}, "the activation of the decoder is unknown"),
        ({"activation_fn": "linear"}, "the activation of the decoder is unknown"),
        ({"no_cross_attention": True}, "the decoder does not attend to an encoder"),
        ({"decoder_layers": 0}, "the decoder has no layers"),
        ({"adaptive_softmax_cutoff": "20,50", "share_all_embeddings": False},
         "the model has a NoneType, not a PackedLinear"),
    ],
    ids=str,
)  # fmt: skip
def test_other_models_are_decoded_by_fairseq(changes, reason, caplog):
    if changes.get("activation_fn") == "relu_squared":
        pytest.importorskip("fairseq.modules.transformer_layer")
    plain, fast, line = refused(caplog, [transformer(0.3, **changes)])
    assert line == f"fairseq's own search is used, because {reason}"
    for tokens, lengths in batches(40, 20):
        sample = sample_of(tokens, lengths)
        assert_same(translate(fast, sample), translate(plain, sample))


def test_a_hook_is_called(caplog):
    """Its layer is not replaced, so fairseq's own search calls it."""
    model = transformer(0.3)
    model.decoder.layers[1].fc1.register_forward_hook(lambda module, inputs, output: output * 0)
    plain, fast, line = refused(caplog, [model])
    assert line.endswith("because the model has a Linear, not a PackedLinear")
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert_same(translate(fast, sample), translate(plain, sample))
    model = transformer(0.3)
    model.decoder.layers[0].register_forward_hook(lambda module, inputs, output: output)
    assert refused(caplog, [model])[2].endswith("because the decoder's layers.0 has a hook")


def test_a_recurrent_model_is_decoded_by_fairseq(caplog):
    args = argparse.Namespace(encoder_embed_dim=16, decoder_embed_dim=16, criterion="cross_entropy")
    lstm_architecture(args)
    torch.manual_seed(1)
    model = LSTMModel.build_model(args, Task).eval()
    plain, fast, line = refused(caplog, [model])
    assert line.endswith("because the model has a LSTMDecoder, not a TransformerDecoder")
    (tokens, lengths), *_ = batches(20, 20, left_pad=False)
    order = lengths.argsort(descending=True)
    sample = sample_of(tokens[order], lengths[order])
    assert_same(translate(fast, sample), translate(plain, sample))


def test_without_a_compiler_fairseq_searches(monkeypatch, caplog):
    for module in (acceleration, compiled_decoder, sparse_decoding):
        monkeypatch.setattr(module, "native", lambda: None)
    plain, fast, line = refused(caplog)
    assert line.endswith("because the compiled kernels cannot be built")
    kinds = {type(m) for m in fast.model.modules() if isinstance(m, Matrix)}
    assert kinds == {SparseMatrix}
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert_same(translate(fast, sample), translate(plain, sample))


def test_repeated_tokens_are_not_blocked(caplog):
    assert refused(caplog, no_repeat_ngram_size=1)[2].endswith("does not block repeated tokens")


def test_n_grams_that_are_blocked_are_announced(caplog):
    with caplog.at_level("INFO", "fairseq_lottery"):
        generators([transformer(0.3)], no_repeat_ngram_size=3)
    assert "n-grams are blocked, which fairseq's own code for a CPU does not do" in caplog.messages


@pytest.mark.parametrize("change", ["search", "hook", "language model"])
def test_what_is_changed_afterwards_counts(change, caplog):
    models = [transformer(0.3)]
    plain, fast = generators(models)
    for generator in (plain, fast):
        decoder = generator.model.single_model.decoder
        if change == "search":
            generator.search = search.DiverseBeamSearch(Task.target_dictionary, 5, 0.5)
        elif change == "hook":
            decoder.layers[1].fc1.register_forward_hook(lambda module, inputs, output: output * 0)
        else:
            generator.lm_model, generator.lm_weight = LanguageModel(), 0.5
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    with caplog.at_level("INFO", "fairseq_lottery"):
        assert_same(translate(fast, sample), translate(plain, sample))
    assert len([line for line in caplog.messages if "own search" in line]) == 1


class LanguageModel(torch.nn.Module):
    """The same distribution after any words."""

    def forward(self, tokens):
        return torch.arange(WORDS).float().expand(*tokens.shape, WORDS) / 20

    def get_normalized_probs(self, output, log_probs, sample):
        return output.log_softmax(-1)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_a_copy_translates_by_itself(how):
    plain, fast = generators([transformer(0.3)])
    copied = how(fast)
    with torch.no_grad():
        for parameter in fast.model.parameters():
            parameter.fill_(math.nan)
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert isinstance(copied, CompiledGenerator)
    assert_same(translate(copied, sample), translate(plain, sample))


@pytest.mark.parametrize("change", ["share_memory", "data", "half and float"])
def test_tensors_with_another_storage(change):
    plain, fast = generators([transformer(0.3)])
    model = fast.model.single_model
    if change == "share_memory":
        model.share_memory()
    elif change == "data":
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data = tensor.data.clone()
    else:
        model.half().float()
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    ours = translate(fast, sample)
    if change != "half and float":
        assert_same(ours, translate(plain, sample))
    assert all(len(one) == 5 for one in ours)


def test_a_model_in_half_precision_is_refused():
    _, fast = generators([transformer(0.3)])
    model = fast.model.single_model.half()
    with pytest.raises(LotteryError, match="requires fp32 weights on a CPU"):
        accelerate(SequenceGenerator([model], Task.target_dictionary), [model])
    (tokens, lengths), *_ = batches(20, 20)
    with pytest.raises(RuntimeError, match="Half|half"):
        translate(fast, sample_of(tokens, lengths))


def test_threads_of_python_share_a_model():
    plain, fast = generators([transformer(0.3)])
    samples = [sample_of(*batch) for batch in batches(80, 20)]
    with ThreadPoolExecutor(4) as pool:
        ours = list(pool.map(lambda sample: translate(fast, sample), samples))
    for sample, found in zip(samples, ours):
        assert_same(found, translate(plain, sample))


def test_constraints_are_refused_by_the_search_as_in_fairseq():
    _, fast = generators([transformer(0.3)])
    (tokens, lengths), *_ = batches(20, 20)
    with pytest.raises(NotImplementedError, match="constraints"):
        translate(fast, sample_of(tokens, lengths), constraints=torch.ones(20, 3))
