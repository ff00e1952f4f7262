"""The decoder of a GPU: precisions, long translations, and models that only it or none decodes."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from engines import built
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import Task, batches, transformer
from searches import assert_same, compare, generators, sample_of, translate
from torch import nn

from fairseq_lottery.decoding import accelerate, accelerated_generator, beams, fused_decoder
from fairseq_lottery.decoding.accelerated_generator import (
    AcceleratedGenerator,
    accelerate_generator,
)
from fairseq_lottery.decoding.beams import Beams
from fairseq_lottery.decoding.decoder import NotAccelerated
from fairseq_lottery.decoding.fused_decoder import FusedDecoder
from fairseq_lottery.errors import LotteryError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HALF = [torch.float16, torch.bfloat16]
#: of torch before it computes in half precision on a CPU
OLD = not hasattr(nn.functional, "scaled_dot_product_attention")


def hypotheses_of(generator, sample):
    """Tokens -> score, of all hypotheses of each sentence."""
    found = translate(generator, sample)
    return [{tuple(h["tokens"].tolist()): float(h["score"]) for h in one} for one in found]


def assert_as_exact(plain, fast, exact, device="cpu"):
    """Compare errors of scores in half precision with those of fairseq; ``exact`` is in fp32."""
    errors, with_common = {"fairseq": [], "ours": []}, 0
    for tokens, lengths in batches(120, 20):
        sample = sample_of(tokens.to(device), lengths.to(device))
        found = [hypotheses_of(generator, sample) for generator in (exact, plain, fast)]
        for right, theirs, ours in zip(*found):
            common = right.keys() & theirs.keys() & ours.keys()
            with_common += bool(common)
            errors["fairseq"] += [abs(theirs[one] - right[one]) for one in common]
            errors["ours"] += [abs(ours[one] - right[one]) for one in common]
    assert with_common >= 0.9 * 120
    mean = {name: sum(values) / len(values) for name, values in errors.items()}
    assert 0 < mean["ours"] < 1.3 * mean["fairseq"]


def in_fp32(models, dtype):
    return [model.to(dtype).float() for model in copy.deepcopy(models)]


@pytest.mark.skipif(OLD, reason="torch before 2.0 has no half precision on a CPU")
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("ensemble", [1, 2])
def test_half_precision_is_as_exact_as_fairseqs(dtype, ensemble):
    """Both round; errors are measured against the same weights in fp32."""
    models = [transformer(0.3, seed) for seed in range(ensemble)]
    exact, _ = generators(in_fp32(models, dtype), decoder="fused")
    plain, fast = generators([model.to(dtype) for model in models], decoder="fused")
    assert fast.model.models[0].decoder.output_projection.weight.dtype == dtype
    assert_as_exact(plain, fast, exact)


def test_translations_longer_than_the_memory(monkeypatch):
    """The memory of keys and values grows several times."""
    monkeypatch.setattr(fused_decoder, "_POSITIONS", 2)
    found = compare([transformer(0.3)], decoder="fused", min_len=6)
    assert max(len(h["tokens"]) for one in found for h in one) > 10


def test_attention_without_torchs_own_function(monkeypatch):
    """As before torch 2.0."""
    monkeypatch.setattr(fused_decoder, "attend", fused_decoder._attend)
    compare([transformer(0.3)], decoder="fused")


@pytest.mark.parametrize("activation", ["linear", "relu_squared"])
def test_activations_that_compiled_code_does_not_know(activation):
    if activation == "relu_squared":
        pytest.importorskip("fairseq.modules.transformer_layer")
    compare([transformer(0.3, activation_fn=activation)], decoder="fused")


class OtherParameter(nn.Parameter):
    """As torch's weights for sparse tensor cores, which cannot be concatenated."""


def test_weights_of_other_kinds_are_multiplied_one_by_one():
    plain, fast = generators([transformer(0.3)], decoder="fused")
    for layer in fast.model.single_model.decoder.layers:
        linear = layer.self_attn.k_proj
        linear.weight = OtherParameter(linear.weight.data * 2)
    for layer in plain.model.single_model.decoder.layers:
        layer.self_attn.k_proj.weight.data *= 2
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert_same(translate(fast, sample), translate(plain, sample))


def slim(model):
    """A model in which every attention has lost one of its two heads, and half of its units."""
    sys.path.insert(0, str(BENCHMARKS))
    from slim import random_components, shapes_of, smaller, zeroed

    from fairseq_lottery.heads.components.anatomy import Anatomy

    heads = {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    anatomy = Anatomy.of(shapes_of(model), heads)
    halves = {"heads": 0.5, "units": 0.5}
    components = random_components(anatomy, halves, False, torch.Generator().manual_seed(1))
    whole = zeroed(model, components)
    return whole, smaller(whole, components)


def test_slim_models():
    whole, cut = slim(transformer(1.0))
    assert cut.decoder.layers[0].self_attn.num_heads == 1
    plain, fast = generators([cut], decoder="fused")
    assert isinstance(fast, AcceleratedGenerator)
    whole = SequenceGenerator([whole], Task.target_dictionary, beam_size=5, max_len_b=12)
    for tokens, lengths in batches(40, 20):
        sample = sample_of(tokens, lengths)
        assert_same(translate(fast, sample), translate(plain, sample))
        for ours, zeroed in zip(*(hypotheses_of(g, sample) for g in (fast, whole))):
            assert ours == pytest.approx(zeroed, abs=1e-4)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"scale_heads": True}, "the model has c_attn"),
        ({"scale_attn": True}, "the model has attn_ln"),
        ({"no_cross_attention": True}, "the decoder does not attend to an encoder"),
        ({"decoder_layers": 0}, "the decoder has no layers"),
        ({"adaptive_softmax_cutoff": "20,50", "share_all_embeddings": False},
         "the model has a NoneType, not a Linear"),
    ],
    ids=str,
)  # fmt: skip
def test_other_models_are_refused(changes, reason):
    model = transformer(0.3, **changes)
    with pytest.raises(NotAccelerated) as refused:
        FusedDecoder(model.decoder)
    assert str(refused.value) == reason


def test_other_scales_and_missing_biases_are_refused():
    model = transformer(0.3)
    model.decoder.layers[1].encoder_attn.scaling *= 2
    with pytest.raises(NotAccelerated, match="an attention has no heads, or its own scale"):
        FusedDecoder(model.decoder)
    model = transformer(0.3)
    model.decoder.layers[1].self_attn.k_proj.bias = None
    with pytest.raises(NotAccelerated, match="only some of a layer's projections have a bias"):
        FusedDecoder(model.decoder)
    for name in ("q_proj", "k_proj", "v_proj"):
        getattr(model.decoder.layers[1].self_attn, name).bias = None
    compare([model], decoder="fused")


class Endless(Beams):
    """A search without the steps that read values of tensors; sentences end at fixed steps."""

    def _finish(self, step, is_end, scores, rows):
        self.attention.index_select(0, rows.view(-1))
        return {3: [0, 4], 5: [1]}.get(step, [])

    def _repeat_first_beam(self, step, forced, features):
        return features


#: operations that copy from one device to another
COPIES = ("aten._to_copy.default", "aten.copy_.default")


@pytest.mark.skipif(OLD, reason="torch before 2.0 has other modes")
@pytest.mark.parametrize("wrong", [None, "padding", "bonus"])
def test_tensors_of_a_step_are_on_the_device_of_the_model(monkeypatch, wrong):
    """Tensors without content stand for those of a GPU; two are on the CPU, and are found."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class OneDevice(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
            devices = {tensor.device.type for tensor in tensors if tensor.dim()}
            assert len(devices) < 2 or str(function) in COPIES, f"{function} on {devices}"
            return function(*args, **(kwargs or {}))

    monkeypatch.setattr(accelerated_generator, "Beams", Endless)
    if wrong == "bonus":
        bonus = beams._bonus
        monkeypatch.setattr(beams, "_bonus", lambda generator, device: bonus(generator, "cpu"))
    ensemble = [transformer(0.3, n, decoder_learned_pos=True).to("meta").half() for n in (1, 2)]
    generator = SequenceGenerator(ensemble, Task.target_dictionary, beam_size=5, max_len_b=20)
    accelerate(generator, ensemble)
    assert [type(decoder) for decoder in generator.decoders] == [FusedDecoder] * 2
    monkeypatch.setattr(fused_decoder, "_has_padding", lambda padding: True)
    tokens = torch.empty(20, 10, dtype=torch.int64, device="meta")
    padding = torch.zeros(20, 10, dtype=torch.bool, device="cpu" if wrong == "padding" else "meta")
    encoder_out = torch.empty(10, 20, 32, device="meta", dtype=torch.float16)
    encoded = {"encoder_out": [encoder_out], "encoder_padding_mask": [padding]}
    generator.model.forward_encoder = lambda net_input: [encoded, encoded]
    sample = sample_of(tokens, torch.full((20,), 9))  # lengths may be on the CPU
    expected = "a sentence has no hypothesis" if wrong is None else "device|on {"
    with OneDevice(), pytest.raises((RuntimeError, AssertionError), match=expected):
        translate(generator, sample, prefix_tokens=tokens[:, :2])


@pytest.mark.cuda
@pytest.mark.parametrize(
    "options",
    [
        {}, {"beam_size": 1}, {"unk_penalty": 1.0, "min_len": 4}, {"left_pad": False},
        {"match_source_len": True}, {"temperature": 0.7}, {"len_penalty": 0.3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("ensemble", [1, 2])
def test_hypotheses_on_a_gpu(options, ensemble):
    """By --sparse-decode, which leaves matrices on a GPU dense."""
    models = [transformer(0.3, seed).cuda() for seed in range(ensemble)]
    compare(models, device="cuda", least=0.5, **options)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_on_a_gpu(dtype):
    models = [transformer(0.3).cuda()]
    exact, _ = generators(in_fp32(models, dtype))
    plain, fast = generators([model.to(dtype) for model in models])
    assert [type(decoder) for decoder in fast.decoders] == [FusedDecoder]
    assert_as_exact(plain, fast, exact, "cuda")


@pytest.mark.cuda
def test_sentences_that_end_together_on_a_gpu():
    """Lengths may be on the CPU; prefixes are on the GPU."""
    model = transformer(0.3).cuda()
    plain, fast = generators([model], min_len=5, max_len_b=5)
    (tokens, lengths), *_ = batches(20, 20)
    prefix = torch.full((20, 2), Task.target_dictionary.pad(), device="cuda")
    prefix[:5, 0] = 7
    ours = translate(fast, sample_of(tokens.cuda(), lengths), prefix_tokens=prefix)
    theirs = translate(plain, sample_of(tokens.cuda(), lengths.cuda()), prefix_tokens=prefix)
    assert_same(ours, theirs)
    assert {len(h["tokens"]) for one in ours for h in one} == {6}
    assert ours[0][0]["tokens"].tolist()[0] == 7 and ours[0][0]["tokens"].is_cuda


def test_a_model_that_was_accelerated_for_a_cpu_is_refused_elsewhere():
    """fairseq's own search would multiply by matrices that stay on the CPU."""
    model = transformer(0.3)
    generator = SequenceGenerator([model], Task.target_dictionary)
    accelerate(generator, [model])
    model.to("meta")
    with pytest.raises(LotteryError, match="were made for a CPU by an earlier translation"):
        accelerate(SequenceGenerator([model], Task.target_dictionary), [model])


def test_an_ensemble_in_which_one_model_is_refused_stays_as_it_is():
    models = [transformer(0.3, 1), transformer(0.3, 2).half()]
    with pytest.raises(LotteryError, match="require fp32 weights on a CPU"):
        accelerate(SequenceGenerator(models, Task.target_dictionary), models)
    assert type(models[0].decoder.layers[0].fc1) is nn.Linear


class Adapted(nn.Linear):
    """A layer that computes more than its weight says, as a low-rank adapter."""

    def forward(self, x):
        return super().forward(x) * 2


def test_layers_that_are_replaced_afterwards_are_called(caplog):
    plain, fast = generators([transformer(0.3)], decoder="fused")
    for generator in (plain, fast):
        attention = generator.model.single_model.decoder.layers[1].self_attn
        adapted = Adapted(attention.embed_dim, attention.embed_dim)
        adapted.load_state_dict(attention.v_proj.state_dict())
        attention.v_proj = adapted
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    with caplog.at_level("INFO", "fairseq_lottery"):
        assert_same(translate(fast, sample), translate(plain, sample))
    assert "because the model has a Adapted, not a Linear" in caplog.text


@pytest.mark.parametrize("decoder", [pytest.param("compiled", marks=built), "fused"])
def test_a_model_in_training_mode_is_decoded_by_fairseq(decoder, caplog):
    """Its dropout is random."""
    plain, fast = generators([transformer(0.3, dropout=0.3)], decoder=decoder)
    (tokens, lengths), *_ = batches(20, 20)
    found = []
    with caplog.at_level("INFO", "fairseq_lottery"):
        for generator in (plain, fast):
            generator.model.train()
            torch.manual_seed(1)
            found.append(translate(generator, sample_of(tokens, lengths)))
    assert_same(*found)
    assert caplog.messages[-1].endswith("because the model is in training mode")


def test_a_generator_with_it_can_be_copied():
    plain, fast = generators([transformer(0.3)], decoder="fused")
    copied = copy.deepcopy(fast)
    with torch.no_grad():
        for parameter in fast.model.parameters():
            parameter.zero_()
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert_same(translate(copied, sample), translate(plain, sample))


def test_a_hook_that_is_added_is_called():
    plain, fast = generators([transformer(0.3)], decoder="fused")
    for generator in (plain, fast):
        layer = generator.model.single_model.decoder.layers[1].fc1
        layer.register_forward_hook(lambda module, inputs, output: output * 0)
    (tokens, lengths), *_ = batches(20, 20)
    sample = sample_of(tokens, lengths)
    assert_same(translate(fast, sample), translate(plain, sample))


def test_an_accelerated_generator_is_not_accelerated_twice():
    _, fast = generators([transformer(0.3)], decoder="fused")
    with pytest.raises(NotAccelerated, match="the generator is a AcceleratedGenerator"):
        accelerate_generator(fast, FusedDecoder)
