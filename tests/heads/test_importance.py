"""dL/dgate against finite differences, and where the absolute value is taken."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import anatomy, loss, sentences, transformer
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.measures.importance import importance, normalised


def finite_difference(model, kind, name, number, batch, step=0.02):
    """dL/dgate of one component, from four forwards; fairseq's softmax is always fp32."""
    gates = Gates(model, anatomy(model))
    values = {}
    with gates.attached(), torch.no_grad():
        for steps in (-2, -1, 1, 2):
            factors = torch.ones(anatomy(model).sizes[kind][name], dtype=torch.float64)
            factors[number] += steps * step
            gates.values[kind][name] = factors
            values[steps] = float(loss(model, batch)[0])
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)


@given(
    st.sampled_from(["heads", "units", "blocks"]),
    st.integers(0, 1000),
    st.booleans(),
)
@PROPERTY
def test_the_gradient_is_that_of_finite_differences(kind, pick, before):
    model = transformer(
        encoder_normalize_before=before, decoder_normalize_before=before, activation_fn="gelu"
    ).double()
    sizes = anatomy(model).sizes[kind]
    name = sorted(sizes)[pick % len(sizes)]
    number, batch = pick % sizes[name], sentences(2, seed=pick)
    found = importance(Gates(model, anatomy(model)), [batch], loss, per="batch")[kind][name][number]
    expected = abs(finite_difference(model, kind, name, number, batch))
    assert float(found) == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_per_sentence_is_the_mean_over_sentences_alone():
    model = transformer().double()
    batch = sentences(5)
    alone = []
    for row in range(5):
        net_input = {k: v[row : row + 1] for k, v in batch["net_input"].items()}
        one = {"net_input": net_input, "target": batch["target"][row : row + 1]}
        alone.append(importance(Gates(model, anatomy(model)), [one], loss, per="batch"))
    found = importance(Gates(model, anatomy(model)), [batch], loss, per="sentence")
    for kind, modules in found.items():
        for name, values in modules.items():
            mean = torch.stack([one[kind][name] for one in alone]).mean(dim=0)
            assert torch.allclose(values, mean, rtol=1e-6, atol=1e-9), (kind, name)


def test_per_token_sums_the_positions_that_per_batch_adds_first():
    model, batch = transformer().double(), sentences(3)
    token, whole = (
        importance(Gates(model, anatomy(model)), [batch], loss, per=p) for p in ("token", "batch")
    )
    tokens = loss(model, batch)[1]
    for kind in token:
        for name in token[kind]:
            assert (token[kind][name] * tokens >= whole[kind][name] - 1e-9).all()


def test_batches_do_not_add_up():
    """Two batches whose gradients cancel would vanish in a sum; the mean of both stays."""
    model = transformer().double()
    first, second = sentences(3, seed=1), sentences(3, seed=5)
    both = importance(Gates(model, anatomy(model)), [first, second], loss, per="batch")
    each = [
        importance(Gates(model, anatomy(model)), [one], loss, per="batch")
        for one in (first, second)
    ]
    for kind in both:
        for name, values in both[kind].items():
            mean = (each[0][kind][name] + each[1][kind][name]) / 2
            assert torch.allclose(values, mean, rtol=1e-9, atol=1e-12)


def test_pruned_heads_have_an_importance_too_and_change_that_of_others():
    model, batch = transformer().double(), sentences(3)
    gates = Gates(model, anatomy(model))
    gates.values["heads"]["encoder.layers.0.self_attn"][:] = 0
    found = importance(gates, [batch], loss)
    opened = importance(Gates(model, anatomy(model)), [batch], loss)
    name = "encoder.layers.1.self_attn"
    assert not torch.allclose(found["heads"][name], opened["heads"][name])
    assert float(found["heads"]["encoder.layers.0.self_attn"].min()) > 0


def test_where_heads_attend_evenly_all_have_an_importance():
    model, batch = transformer().double(), sentences(3)
    gates = Gates(model, anatomy(model))
    name = "encoder.layers.0.self_attn"
    gates.set(ComponentMask(anatomy(model), {"heads": {name: [1]}}, "uniform"))
    found = importance(gates, [batch], loss, per="batch")
    even = copy.deepcopy(model)
    attention = even.encoder.layers[0].self_attn
    with torch.no_grad():
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[4:8] = projection.bias[4:8] = 0
    expected = importance(Gates(even, anatomy(even)), [batch], loss, per="batch")
    for kind, modules in expected.items():
        for one, values in modules.items():
            assert torch.allclose(found[kind][one], values, rtol=1e-4, atol=1e-5), one
    assert float(found["heads"][name].min()) > 0


def test_normalised_is_one_per_layer():
    model = transformer().double()
    scores = importance(Gates(model, anatomy(model)), [sentences()], loss)
    found = normalised(scores)
    for name in scores["heads"]:
        assert float(found["heads"][name].square().sum()) == pytest.approx(1)
        order = scores["heads"][name].argsort()
        assert torch.equal(found["heads"][name].argsort(), order)
    assert found["blocks"] == scores["blocks"]
    zeros = {"heads": {"a": torch.zeros(3)}}
    assert normalised(zeros)["heads"]["a"].tolist() == [0, 0, 0]


def test_no_data_is_refused():
    model = transformer()
    with pytest.raises(LotteryError, match="no examples"):
        importance(Gates(model, anatomy(model)), [], loss)
    with pytest.raises(LotteryError, match="per 'word'"):
        importance(Gates(model, anatomy(model)), [], loss, per="word")
