"""When beam search is faster, and when fairseq's own code searches."""

import argparse
import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engines import always, built
from fairseq import search
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm import base_architecture as lstm_architecture
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import WORDS, Task, batches, transformer
from searches import assert_same, generators, sample_of, translate

from fairseq_lottery.decoding import accelerate, acceleration, compiled_decoder
from fairseq_lottery.decoding.accelerated_generator import AcceleratedGenerator
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.sparse import sparse_decoding
from fairseq_lottery.sparse.sparse_matrix import Matrix, SparseMatrix

pytestmark = built


@pytest.fixture(autouse=True)
def sparse_is_faster(monkeypatch):
    monkeypatch.setattr(sparse_decoding, "kept_choices", always)


def refused(caplog, models=None, kind=SequenceGenerator, **options):
    """Return the generators and the reason why fairseq's own search is used."""
    caplog.clear()
    with caplog.at_level("INFO", "fairseq_lottery"):
        plain, fast = generators(models or [transformer(0.3)], kind, **options)
    assert not isinstance(fast, AcceleratedGenerator)
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
    said = "n-grams are blocked, which fairseq does only by its extension for CUDA"
    assert said in caplog.messages


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
    assert isinstance(copied, AcceleratedGenerator)
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
    with pytest.raises(LotteryError, match="require fp32 weights on a CPU"):
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
