"""Gates give what zeros in the weights give, in every way that fairseq runs a model."""

import copy

import pytest
import torch
from live import HEADS, anatomy, log_probs, sentences, transformer, translate

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import clear_biases, weight_masks
from fairseq_lottery.heads.gates.gates import Gates

MODULES = [
    *(f"encoder.layers.{n}.self_attn" for n in (0, 1)),
    *(
        f"decoder.layers.{n}.{attention}"
        for n in (0, 1)
        for attention in ("self_attn", "encoder_attn")
    ),
]


def zeroed(model, components):
    """A copy whose weights are zero where ``components`` prunes something; nothing is hooked."""
    model = copy.deepcopy(model)
    parameters = trainable(model)
    with torch.no_grad():
        for name, keep in weight_masks(
            components, {n: tuple(p.shape) for n, p in parameters.items()}
        ).items():
            parameters[name][~keep] = 0
        clear_biases(parameters, components)
    return model


def assert_gates_equal_zeros(model, components):
    gates = Gates(model, anatomy(model))
    gates.set(components)
    batch = sentences()
    without = log_probs(model, batch)
    with gates.attached():
        gated, found = log_probs(model, batch), translate(model, batch)
    closed = zeroed(model, components)
    assert torch.allclose(gated, log_probs(closed, batch), atol=1e-5)
    for (tokens, scores), (others, their_scores) in zip(found, translate(closed, batch)):
        assert torch.equal(tokens, others)
        assert torch.allclose(scores, their_scores, atol=1e-5)
    assert (gated - without).abs().max() > 1e-3  # the part does matter
    assert torch.equal(log_probs(model, batch), without)  # nothing is left behind


@pytest.mark.parametrize("mode", ["zero", "uniform"])
@pytest.mark.parametrize("name", MODULES)
def test_every_head(name, mode):
    model = transformer()
    for head in range(HEADS):
        assert_gates_equal_zeros(
            model, ComponentMask(anatomy(model), {"heads": {name: [head]}}, mode)
        )


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize(
    "name", ["encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1"]
)
def test_every_block_and_some_units(name, before):
    model = transformer(encoder_normalize_before=before, decoder_normalize_before=before)
    sizes = anatomy(model)
    assert_gates_equal_zeros(model, ComponentMask(sizes, {"blocks": {name: [0]}}))
    for unit in (0, 11, 22):
        assert_gates_equal_zeros(model, ComponentMask(sizes, {"units": {name: [unit, 23]}}))


def test_uniform_attention_is_the_mean_of_the_values():
    model = transformer()
    attention = model.encoder.layers[0].self_attn
    gates = Gates(model, anatomy(model))
    gates.set(
        ComponentMask(
            anatomy(model), {"heads": {"encoder.layers.0.self_attn": [0, 1, 2, 3]}}, "uniform"
        )
    )
    x = torch.randn(5, 2, 16)
    with gates.attached():
        found, _ = attention(x, x, x)
    mean = attention.out_proj(attention.v_proj(x).mean(dim=0, keepdim=True)).expand(5, -1, -1)
    assert torch.allclose(found, mean, atol=1e-5)


def test_a_factor_is_a_factor():
    model = transformer()
    gates = Gates(model, anatomy(model))
    gates.values["heads"]["decoder.layers.1.encoder_attn"][2] = 0.5
    with gates.attached():
        found = log_probs(model, sentences())
    halved = copy.deepcopy(model)
    with torch.no_grad():
        halved.decoder.layers[1].encoder_attn.out_proj.weight[:, 8:12] *= 0.5
    assert torch.allclose(found, log_probs(halved, sentences()), atol=1e-5)


def test_gates_act_in_training_too():
    model = transformer(dropout=0.0, attention_dropout=0.0)
    batch, components = sentences(), ComponentMask(anatomy(model), {"heads": {MODULES[0]: [1]}})
    gates = Gates(model, anatomy(model))
    gates.set(components)
    model.train()
    with gates.attached():
        gated = log_probs(model, batch)
    assert torch.allclose(gated, log_probs(zeroed(model, components).train(), batch), atol=1e-5)


@pytest.mark.parametrize("kind", ["units", "blocks"])
def test_units_that_a_norm_reads_are_refused_and_heads_are_not(kind):
    """Gates act behind the norm and zeros in weights before it, so they would not agree."""
    model, batch = transformer(scale_fc=True, scale_attn=True, scale_heads=True), sentences()
    of, layer = anatomy(model), "decoder.layers.1"
    gates, weights = Gates(model, of), trainable(model)
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    bad = ComponentMask(of, {kind: {layer: [0]}})
    for refused in (lambda: gates.set(bad), lambda: weight_masks(bad, shapes)):
        with pytest.raises(LotteryError, match="decoder.layers.1 normalises over its units .--sca"):
            refused()
    good = ComponentMask(
        of, {"heads": dict.fromkeys(of.heads, [0, 2]), kind: {"encoder.layers.0": [0]}}
    )
    gates.set(good)
    with gates.attached(), torch.no_grad():
        gated = log_probs(model, batch)
    with torch.no_grad():
        clear_biases(weights, good)
        for name, keep in weight_masks(good, shapes).items():
            weights[name][~keep] = 0
        assert torch.allclose(log_probs(model, batch), gated, atol=1e-5)
