"""A model that components were cut out of gives what the model with zeros in their place gives."""

import copy

import pytest
import torch
from engines import always
from hypothesis import given, settings
from hypothesis import strategies as st
from live import DIM, FFN, HEADS, WORDS, anatomy, log_probs, sentences, transformer, translate
from small import PROPERTY

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import clear_biases, weight_masks
from fairseq_lottery.heads.slim.cutting import NoHeads, cut, cut_weights, find_idle, with_zeros
from fairseq_lottery.heads.slim.slim_checkpoint import flops_per_token
from fairseq_lottery.sparse import sparsify

NORMS = {
    before: {f"{side}_normalize_before": before for side in ("encoder", "decoder")}
    for before in (False, True)
}
MODELS = {before: transformer(**changes) for before, changes in NORMS.items()}
ANATOMY = anatomy(MODELS[False])
ATTENTION, LAYER = "decoder.layers.1.encoder_attn", "encoder.layers.1"


def weights_of(model):
    return {name: parameter.detach() for name, parameter in trainable(model).items()}


def zeroed(model, components):
    """A copy with zeros where ``components`` prunes something."""
    model = copy.deepcopy(model)
    parameters = weights_of(model)
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    for name, keep in weight_masks(components, shapes).items():
        parameters[name][~keep] = 0
    clear_biases(parameters, components)
    return model


def smaller(model, components):
    """A copy without what ``components`` prunes, loaded as fairseq loads a checkpoint."""
    fresh = transformer(seed=7, **NORMS[model.encoder.layers[0].normalize_before])
    cut(fresh, components)
    state = cut_weights(weights_of(model), components)
    for alias in ("decoder.embed_tokens.weight", "decoder.output_projection.weight"):
        state[alias] = state["encoder.embed_tokens.weight"]
    buffers = {n: t for n, t in fresh.state_dict().items() if n.endswith(("version", "_tensor"))}
    fresh.load_state_dict({**buffers, **state})
    return fresh.eval()


def assert_same(model, other, beams=(1, 5)):
    batch = sentences()
    with torch.no_grad():
        assert torch.allclose(log_probs(model, batch), log_probs(other, batch), atol=1e-5)
        for beam in beams:
            for (tokens, scores), (others, theirs) in zip(
                translate(model, batch, beam), translate(other, batch, beam)
            ):
                assert torch.equal(tokens, others)
                assert torch.allclose(scores, theirs, atol=1e-5)


@st.composite
def choices(draw):
    """Any heads, units and blocks of the model, all and none of a module among them."""
    pruned = {kind: {} for kind in ANATOMY.sizes}
    for kind, sizes in ANATOMY.sizes.items():
        for name, size in sizes.items():
            some = st.sets(st.integers(0, size - 1))
            numbers = draw(st.one_of(some, st.sampled_from([set(), set(range(size))])))
            pruned[kind][name] = sorted(numbers)
    return ComponentMask(ANATOMY, pruned)


@given(choices(), st.sampled_from([1, 5]), st.booleans())
@settings(PROPERTY, max_examples=40)
def test_any_components(components, beam, before):
    model = MODELS[before]
    assert_same(zeroed(model, components), smaller(model, components), [beam])


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_every_type_of_attention_without_a_head(kind, before):
    pruned = {name: list(range(HEADS)) for name in ANATOMY.modules("heads", (kind,))}
    components, model = ComponentMask(ANATOMY, {"heads": pruned}), MODELS[before]
    found = smaller(model, components)
    assert sum(isinstance(module, NoHeads) for module in found.modules()) == 2
    assert_same(zeroed(model, components), found)
    x = torch.randn(3, 2, DIM)
    attention = dict(found.named_modules())[next(iter(pruned))]
    given, weights = attention(x, x, x, need_weights=False)
    assert given.shape == (3, 2, DIM) and weights is None
    assert torch.equal(given, given[0, 0].expand(3, 2, -1)) and given.abs().max() > 0.1


def test_alignments_without_a_head():
    """As heads of zeros give them, of the last layer and averaged over heads."""
    pruned = {name: list(range(HEADS)) for name in ANATOMY.modules("heads", ("enc_dec",))}
    components = ComponentMask(ANATOMY, {"heads": pruned})
    whole, found = zeroed(MODELS[False], components), smaller(MODELS[False], components)
    batch = sentences()
    given = [model(**batch["net_input"])[1]["attn"][0] for model in (whole, found)]
    assert given[1].shape == (6, 8, 9) and torch.allclose(given[0], given[1])
    assert ((given[1] > 0) == (batch["net_input"]["src_tokens"] != 1)[:, None]).all()
    heads = dict(found.named_modules())[next(iter(pruned))]
    x = torch.randn(3, 2, DIM)
    assert torch.equal(heads(x, x, x, need_head_weights=True)[1], torch.full((1, 2, 3, 3), 1 / 3))


def test_nothing_is_left_but_what_goes_around():
    sizes = {kind: ANATOMY.sizes[kind] for kind in ("heads", "units")}
    components = ComponentMask(
        ANATOMY, {k: {n: list(range(s)) for n, s in v.items()} for k, v in sizes.items()}
    )
    found = smaller(MODELS[True], components)
    assert_same(zeroed(MODELS[True], components), found)
    matrices = [name for name, p in trainable(found).items() if p.dim() > 1]
    assert matrices == ["encoder.embed_tokens.weight"]


def uneven():
    heads = {name: list(range(number % 4)) for number, name in enumerate(ANATOMY.heads)}
    units = {name: list(range(0, FFN, number + 1)) for number, name in enumerate(ANATOMY.units)}
    return ComponentMask(ANATOMY, {"heads": heads, "units": units})


def test_sizes_and_values():
    model, components = MODELS[False], uneven()
    found = copy.deepcopy(model)
    cut(found, components)
    attention = dict(found.named_modules())["encoder.layers.1.self_attn"]
    assert (attention.num_heads, attention.embed_dim, attention.head_dim) == (3, 12, 4)
    assert attention.scaling == 0.5
    before, after = weights_of(model), weights_of(found)
    for name in ("q_proj", "k_proj", "v_proj"):
        full = before[f"encoder.layers.1.self_attn.{name}.weight"]
        assert torch.equal(after[f"encoder.layers.1.self_attn.{name}.weight"], full[4:])
    out = "encoder.layers.1.self_attn.out_proj.weight"
    assert torch.equal(after[out], before[out][:, 4:])
    units = [after[f"{name}.fc2.weight"].shape[1] for name in list(ANATOMY.units)[1:]]
    assert units == [12, 16, 18]
    expected = cut_weights(before, components)
    assert all(torch.equal(after[name], expected[name]) for name in expected)
    missing = {
        f"encoder.layers.0.{component}" for component in ("fc1.weight", "fc1.bias", "fc2.weight")
    }
    assert before.keys() - after.keys() == before.keys() - expected.keys() == missing
    assert all(p.requires_grad for p in trainable(found).values())
    assert_same(zeroed(model, components), found)
    assert_same(zeroed(model, components), smaller(model, components))


@given(choices())
@PROPERTY
def test_zeros_come_back_in_their_places(components):
    full = weights_of(zeroed(MODELS[False], components))
    found = find_idle(full, ANATOMY, "relu")
    assert {kind: found.count_pruned(kind) for kind in ("heads", "blocks")} == {
        "heads": components.count_pruned("heads"),
        "blocks": 0,
    }
    pruned = sum(
        FFN if not components["blocks"][n][0] else int((~components["units"][n]).sum())
        for n in ANATOMY.units
    )
    assert found.count_pruned("units") == pruned
    again = with_zeros(cut_weights(full, found), found)
    assert again.keys() == full.keys()
    assert [name for name in full if not torch.equal(again[name], full[name])] == []


def test_what_contributes_nothing_by_other_zeros():
    model = copy.deepcopy(MODELS[False])
    weights = weights_of(model)
    weights[f"{ATTENTION}.v_proj.weight"][4:8] = 0
    weights[f"{LAYER}.fc1.weight"][3] = 0
    nothing = ComponentMask(ANATOMY, {})
    assert find_idle(weights, ANATOMY, "relu") == nothing  # their biases still give something
    weights[f"{ATTENTION}.v_proj.bias"][4:8] = 0
    weights[f"{LAYER}.fc1.bias"][3] = 0
    components = ComponentMask(ANATOMY, {"heads": {ATTENTION: [1]}, "units": {LAYER: [3]}})
    assert find_idle(weights, ANATOMY, "gelu") == components
    assert_same(model, smaller(model, components))
    unknown = ComponentMask(ANATOMY, {"heads": {ATTENTION: [1]}})
    assert find_idle(weights, ANATOMY, "sigmoid") == unknown
    scaled = {**weights, f"{LAYER}.ffn_layernorm.weight": torch.ones(FFN)}
    assert find_idle(scaled, ANATOMY, "relu") == unknown


def test_heads_that_attend_evenly_are_none_of_them():
    components = ComponentMask(ANATOMY, {"heads": {ATTENTION: [0, 2]}}, "uniform")
    weights = weights_of(zeroed(MODELS[False], components))
    assert find_idle(weights, ANATOMY, "relu") == ComponentMask(ANATOMY, {})
    with pytest.raises(LotteryError, match="attend evenly output the mean of their values"):
        cut_weights(weights, components)


def test_with_sparse_matrices():
    components = ComponentMask(
        ANATOMY,
        {"heads": {ATTENTION: list(range(HEADS))}, "units": {LAYER: list(range(FFN))}},
    )
    model = MODELS[False]
    found = smaller(model, components)
    with torch.no_grad():
        found.decoder.layers[0].fc1.weight[:, 1:] = 0
    dense = copy.deepcopy(found)
    assert sparsify(found, 5, choices=always()).sparse >= 1
    assert_same(dense, found)


def test_in_half_precision_the_cut_model_is_in_half_precision():
    model = copy.deepcopy(MODELS[False]).to(torch.bfloat16)
    cut(model, uneven())
    assert {p.dtype for p in model.parameters()} <= {torch.bfloat16, torch.float32}
    assert {p.dtype for p in trainable(model).values()} == {torch.bfloat16}


def test_models_of_other_sizes():
    heads = {**ANATOMY.heads, ATTENTION: 2}
    for other in (
        Anatomy(heads, ANATOMY.units),
        Anatomy(ANATOMY.heads, {**ANATOMY.units, "decoder.layers.2": FFN}),
    ):
        with pytest.raises(LotteryError, match="cut do not match the model that the settings"):
            cut(copy.deepcopy(MODELS[False]), ComponentMask(other, {}))
    components = uneven()
    full = weights_of(MODELS[False])
    with pytest.raises(LotteryError, match="does not match the settings of the cut model"):
        with_zeros(full, components)
    with pytest.raises(LotteryError, match="fc1.weight has shape .12, 16., expected 24"):
        cut_weights({**full, "encoder.layers.1.fc1.weight": torch.ones(12, 16)}, components)
    three = ComponentMask(Anatomy({ATTENTION: 3}, {}), {"heads": {ATTENTION: [0]}})
    with pytest.raises(LotteryError, match=f"has no attention {ATTENTION} of 3 heads"):
        cut_weights(full, three)
    missing = ComponentMask(
        Anatomy({}, {"decoder.layers.9": 3}), {"units": {"decoder.layers.9": [0]}}
    )
    with pytest.raises(LotteryError, match="has no vector decoder.layers.9.fc2.bias"):
        cut_weights(full, missing)


def test_a_few_bytes_do_not_ask_for_all_memory():
    components = ComponentMask(
        Anatomy({}, {LAYER: 1 << 18}), {"units": {LAYER: list(range(1 << 18))}}
    )
    stored = {f"{LAYER}.fc2.bias": torch.zeros(64)}
    wanted = (1 << 18) * (64 + 1 + 64)
    with pytest.raises(LotteryError, match=f"has 64 weights, but restored it would have {wanted}"):
        with_zeros(stored, components)


def test_encoders_of_another_width():
    """What attends to them has keys of their width, also where no head of it is left."""
    full = weights_of(MODELS[False])
    cross = ANATOMY.modules("heads", ("enc_dec",))
    for name in (f"{one}.{p}_proj.weight" for one in cross for p in "kv"):
        full[name] = torch.zeros(DIM, 20)
    for number in (0, 1):
        full[f"encoder.layers.{number}.fc2.bias"] = torch.zeros(20)
    components = ComponentMask(ANATOMY, {"heads": {name: list(range(HEADS)) for name in cross}})
    again = with_zeros(cut_weights(full, components), components)
    assert {n: t.shape for n, t in again.items()} == {n: t.shape for n, t in full.items()}


def test_entries_that_are_there_and_should_not_be():
    components = uneven()
    stored = cut_weights(weights_of(MODELS[False]), components)
    for name, value in (("fc1.weight", torch.ones(3, 16)), ("fc2.weight", torch.empty(16, 0))):
        with pytest.raises(
            LotteryError, match=f"{name} does not match the settings of the cut model"
        ):
            with_zeros({**stored, f"encoder.layers.0.{name}": value}, components)
    missing = {n: t for n, t in stored.items() if n != f"{LAYER}.fc2.weight"}
    with pytest.raises(LotteryError, match="fc2.weight does not match the settings"):
        with_zeros(missing, components)


def test_operations_of_a_token():
    """Counted by running a layer's matrices one by one, for the model of this file."""
    shapes = {name: tuple(p.shape) for name, p in weights_of(MODELS[False]).items()}
    square, ffn = 2 * DIM * DIM, 2 * 2 * DIM * FFN
    attention = 2 * 2 * DIM  # scores and mean of one key, all heads
    encoder = 2 * (4 * square + 25 * attention + ffn)
    decoder = 2 * (8 * square + (13 + 25) * attention + ffn)
    assert flops_per_token(shapes) == encoder + decoder + 2 * WORDS * DIM
    longer = 2 * (75 + 37.5 + 75) * attention
    assert flops_per_token(shapes, 100) - flops_per_token(shapes) == longer
    apart = {**shapes, "decoder.output_projection.weight": (70, DIM)}
    assert flops_per_token(apart) - flops_per_token(shapes) == 2 * 10 * DIM
    components = ComponentMask(
        ANATOMY,
        {
            "heads": {name: [0, 1] for name in ANATOMY.heads},
            "units": {name: list(range(FFN // 2)) for name in ANATOMY.units},
        },
    )
    halves = {
        n: tuple(t.shape) for n, t in cut_weights(weights_of(MODELS[False]), components).items()
    }
    rest = 2 * WORDS * DIM
    assert 2 * (flops_per_token(halves) - rest) == flops_per_token(shapes) - rest
    assert {group_of(n) for n in shapes if halves[n] == shapes[n]} >= {"embedding", "other"}
