"""The decoder of a GPU: precisions, long translations, and models that only it or none decodes."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from fairseq.sequence_generator import SequenceGenerator
from random_transformers import Task, batches, transformer
from searches import assert_same, compare, generators, sample_of, translate
from torch import nn

from fairseq_lottery.decoding import accelerate, accelerated_generator, beams
from fairseq_lottery.decoding.accelerated_generator import (
    AcceleratedGenerator,
    accelerate_generator,
)
from fairseq_lottery.decoding.beams import Beams
from fairseq_lottery.decoding.decoder import NotAccelerated
from fairseq_lottery.decoding.fused_decoder import FusedDecoder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
HALF = [torch.float16, torch.bfloat16]
#: of torch before it computes in half precision on a CPU
OLD = not hasattr(nn.functional, "scaled_dot_product_attention")


def hypotheses_of(generator, sample):
    """Tokens -> score, of all hypotheses of each sentence."""
    found = translate(generator, sample)
    return [{tuple(h["tokens"].tolist()): float(h["score"]) for h in one} for one in found]


@pytest.mark.skipif(OLD, reason="torch before 2.0 has no half precision on a CPU")
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("ensemble", [1, 2])
def test_half_precision_is_as_exact_as_fairseqs(dtype, ensemble):
    """Both round; errors are measured against the same weights in fp32."""
    models = [transformer(0.3, seed) for seed in range(ensemble)]
    rounded = [model.to(dtype).float() for model in copy.deepcopy(models)]
    exact, _ = generators(rounded, decoder="fused")
    plain, fast = generators([m.to(dtype) for m in models], decoder="fused")
    assert fast.model.models[0].decoder.output_projection.weight.dtype == dtype
    errors = {"fairseq": [], "ours": []}
    for tokens, lengths in batches(120, 20):
        sample = sample_of(tokens, lengths)
        scores = {
            name: hypotheses_of(generator, sample)
            for name, generator in (("exact", exact), ("fairseq", plain), ("ours", fast))
        }
        for right, theirs, ours in zip(*scores.values()):
            for hypothesis in right.keys() & theirs.keys() & ours.keys():
                errors["fairseq"].append(abs(theirs[hypothesis] - right[hypothesis]))
                errors["ours"].append(abs(ours[hypothesis] - right[hypothesis]))
    assert len(errors["ours"]) > 120  # at least a hypothesis of each sentence
    mean = {name: sum(values) / len(values) for name, values in errors.items()}
    assert 0 < mean["ours"] < 1.3 * mean["fairseq"]


def test_translations_longer_than_the_memory():
    """The memory of keys and values grows twice."""
    found = compare([transformer(0.3)], decoder="fused", min_len=34, max_len_b=40, least=0.1)
    assert max(len(h["tokens"]) for one in found for h in one) > 33


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
    """A search without the steps that read values of tensors."""

    def _finish(self, *arguments):
        return []

    def _repeat_first_beam(self, step, forced, features):
        return features


#: operations that copy from one device to another
COPIES = ("aten._to_copy.default", "aten.copy_.default")


@pytest.mark.skipif(OLD, reason="torch before 2.0 has other modes")
@pytest.mark.parametrize("wrong", [None, "padding", "bonus"])
def test_all_tensors_are_on_the_device_of_the_model(monkeypatch, wrong):
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
    accelerate_generator(generator, FusedDecoder)
    tokens = torch.empty(20, 10, dtype=torch.int64, device="meta")
    padding = torch.zeros(20, 10, dtype=torch.bool, device="cpu" if wrong == "padding" else "meta")
    encoder_out = torch.empty(10, 20, 32, device="meta", dtype=torch.float16)
    encoded = {"encoder_out": [encoder_out], "encoder_padding_mask": [padding]}
    generator.model.forward_encoder = lambda net_input: [encoded, encoded]
    sample = sample_of(tokens, tokens[:, 0])
    expected = "a sentence has no hypothesis" if wrong is None else "device|on {"
    with OneDevice(), pytest.raises((RuntimeError, AssertionError), match=expected):
        translate(generator, sample, prefix_tokens=tokens[:, :2])


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_on_a_gpu(dtype):
    """As on the CPU, by --sparse-decode, which leaves matrices on a GPU dense."""
    model = transformer(0.3).to("cuda", dtype)
    options = {"beam_size": 5, "max_len_b": 12, "unk_penalty": 1.0}
    plain = SequenceGenerator([model], Task.target_dictionary, **options)
    fast = SequenceGenerator([model], Task.target_dictionary, **options)
    accelerate(fast, [model])
    assert [type(decoder) for decoder in fast.decoders] == [FusedDecoder]
    prefix = torch.full((20, 2), Task.target_dictionary.pad(), device="cuda")
    prefix[:5, 0] = 7
    same = total = 0
    for tokens, lengths in batches(200, 20):
        sample = sample_of(tokens.cuda(), lengths.cuda())
        for given in (None, prefix):
            ours = translate(fast, sample, prefix_tokens=given)
            theirs = translate(plain, sample, prefix_tokens=given)
            if dtype == torch.float32:
                assert [len(one) for one in ours] == [len(one) for one in theirs]
            pairs = [(a[0], b[0]) for a, b in zip(ours, theirs)]
            same += sum(a["tokens"].equal(b["tokens"]) for a, b in pairs)
            total += len(pairs)
            assert ours[0][0]["tokens"].device.type == "cuda"
    assert same / total > (0.98 if dtype == torch.float32 else 0.6)


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
