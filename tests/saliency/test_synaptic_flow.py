"""SynFlow against the products of magnitudes, and the conservation of its flow."""

import math
from argparse import Namespace
from functools import partial

import pytest
import torch
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, full_mask, score_all, select, shapes_of
from fairseq_lottery.masks.scores import SCORES
from fairseq_lottery.saliency import UntrainedModel, find_mask
from fairseq_lottery.saliency.private_copy import PrivateCopy
from fairseq_lottery.saliency.synaptic_flow import (
    HAS_MODES,
    _residual,
    flow_scores,
    make_positive,
)

pytestmark = pytest.mark.skipif(not HAS_MODES, reason="torch 1.12 has other function modes")


def network(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


def ones(module):
    return module(torch.ones(1, 6, dtype=torch.float64))


def flow(module, forward, mask=None):
    """Scores of all parameters, biases too."""
    copy = PrivateCopy(module, dict(module.named_parameters()), torch.float64)
    copy.take_magnitudes()
    make_positive(copy.module)
    if mask is not None:
        copy.set_mask(mask)
    return flow_scores(copy, forward)


def by_hand(module, masks=None):
    """|w| * dR/d|w| of each matrix, as products of what flows in and what flows out."""
    weights = [module[i].weight.detach().double().abs() for i in (0, 2, 4)]
    biases = [module[i].bias.detach().double().abs() for i in (0, 2, 4)]
    weights = [w * m for w, m in zip(weights, masks or [1, 1, 1])]
    entering, leaving = [torch.ones(6).double()], [torch.ones(3).double()]
    for weight, bias in zip(weights[:2], biases):
        entering.append(weight @ entering[-1] + bias)
    for weight in weights[:0:-1]:
        leaving.insert(0, weight.t() @ leaving[0])
    return [out[:, None] * w * into for out, w, into in zip(leaving, weights, entering)]


def test_scores_are_the_flow_through_each_weight_up_to_a_power_of_two():
    module = network()
    scores = flow(module, ones)
    expected = dict(zip(("0.weight", "2.weight", "4.weight"), by_hand(module)))
    factor = float(scores["0.weight"][0, 0] / expected["0.weight"][0, 0])
    assert torch.frexp(torch.tensor(factor).double())[0] == pytest.approx(0.5, rel=1e-6)
    for name, values in expected.items():
        assert scores[name].dtype == torch.float32
        assert torch.allclose(scores[name].double() / factor, values, rtol=1e-6, atol=0)
    assert 2**125 <= max(float(s.max()) for s in scores.values()) < 2**126


def test_what_flows_into_a_hidden_unit_flows_out_of_it():
    scores = {name: s.double() for name, s in flow(network(), ones).items()}
    for first, second in (("0", "2"), ("2", "4")):
        into = scores[f"{first}.weight"].sum(dim=1) + scores[f"{first}.bias"]
        assert torch.allclose(into, scores[f"{second}.weight"].sum(dim=0), rtol=1e-6, atol=0)


def test_rounds_prune_as_a_loop_in_plain_torch():
    """Twenty rounds at global scope, each with the scores of the model that is left."""
    module, rounds, final = network(1), 20, 0.8
    full = full_mask(shapes_of(dict(module.named_parameters())))
    mask = find_mask(UntrainedModel(module, forward=ones), "synflow", full, final,
                     partial(select, scope="global"), rounds)  # fmt: skip
    masks = [torch.ones(8, 6).double(), torch.ones(8, 8).double(), torch.ones(3, 8).double()]
    size = sum(m.numel() for m in masks)
    for step in range(1, rounds + 1):
        scores = torch.cat([s.reshape(-1) for s in by_hand(module, masks)])
        kept = torch.cat([m.reshape(-1) for m in masks])
        scores[kept == 0] = -1
        pruned = round((1 - (1 - final) ** (step / rounds)) * size)
        kept[scores.sort(stable=True).indices[:pruned]] = 0
        masks = [part.view(m.shape) for part, m in zip(kept.split([48, 64, 24]), masks)]
    for name, expected in zip(("0.weight", "2.weight", "4.weight"), masks):
        assert torch.equal(mask[name], expected.bool())


def test_a_range_beyond_fp32_is_kept():
    """Forty layers of weights near 1e-3 and one of 1e3: the flow is 1e-100 or so."""
    torch.manual_seed(2)
    module = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(40)])
    with torch.no_grad():
        for layer in module:
            layer.weight *= 1e-3
    scores = flow(module, lambda m: m(torch.ones(1, 4).double()))
    totals = [float(s.double().sum()) for s in scores.values()]
    assert max(totals) / min(totals) == pytest.approx(1, rel=1e-5)
    assert all((s > 0).all() and s.unique().numel() == 16 for s in scores.values())


class Attention(nn.Module):
    """One attention layer of two positions, as fairseq's: projections, softmax, projection."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.embed_tokens = nn.Embedding(5, 4)
        self.embed_positions = nn.Embedding(9, 4)
        self.norm = nn.LayerNorm(4)
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(4, 4, bias=False))
        self.dropout = nn.Dropout(0.5)

    def forward(self, tokens):
        x = self.embed_tokens(tokens) + self.embed_positions(tokens)
        x = self.norm(self.dropout(x))
        scores = self.q_proj(x) @ self.k_proj(x).transpose(-1, -2)
        hidden = torch.triu(torch.full_like(scores, -math.inf), 1)
        weights = nn.functional.softmax((scores + hidden).float(), dim=-1).type_as(scores)
        return self.out_proj(torch.tanh(weights @ self.v_proj(x)))


def test_attention_has_a_flow_and_conserves_it():
    module = Attention()
    scores = flow(module, lambda m: m(torch.tensor([[2, 3]])))
    total = {name: float(s.double().sum()) for name, s in scores.items()}
    for name in ("q_proj", "k_proj", "v_proj"):
        assert total[f"{name}.weight"] == pytest.approx(total["out_proj.weight"] / 3, rel=1e-6)
    # what the projections receive has passed the norm, whose bias is 0
    assert total["norm.weight"] == pytest.approx(total["out_proj.weight"], rel=1e-6)
    assert total["embed_tokens.weight"] == pytest.approx(total["out_proj.weight"], rel=1e-6)
    assert (scores["embed_tokens.weight"] > 0).all()  # types that are not in the input, too
    assert not scores["embed_positions.weight"].any()
    # the values into a unit and the column of the output projection out of it
    into, out = scores["v_proj.weight"].double().sum(1), scores["out_proj.weight"].double().sum(0)
    assert torch.allclose(3 * into, out, rtol=1e-6, atol=0)


def transformer(layers=3, **more):
    pytest.importorskip("fairseq")
    from fairseq.data import Dictionary
    from fairseq.models.transformer import TransformerModel, base_architecture

    dictionary = Dictionary()
    for i in range(200 - 4):
        dictionary.add_symbol(f"w{i}")
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", layers), ("embed_dim", 32), ("ffn_embed_dim", 64),
                            ("attention_heads", 4), *more.items())
    }  # fmt: skip
    args = Namespace(share_all_embeddings=True, **sizes)
    base_architecture(args)
    torch.manual_seed(1)
    return TransformerModel.build_model(
        args, Namespace(source_dictionary=dictionary, target_dictionary=dictionary)
    )


def test_both_terms_of_a_residual_connection_carry_half_of_the_flow():
    """However small the branch is, as after pruning."""
    generator = torch.Generator().manual_seed(1)
    branch, shortcut = (
        (scale * torch.rand(5, 3, generator=generator).double()).requires_grad_()
        for scale in (0.01, 7)
    )
    _residual(branch, shortcut).sum().backward()
    flows = [float((term.detach() * term.grad).sum()) for term in (branch, shortcut)]
    assert flows == pytest.approx([15, 15])


@pytest.mark.parametrize("normalize_before", [False, True])
def test_the_ffn_of_a_transformer_conserves_the_flow(normalize_before):
    model = transformer(2, normalize_before=normalize_before)
    from fairseq_lottery.inference.flow_output import flow_output

    scores = {name: s.double() for name, s in flow(model, flow_output).items()}
    for layer in ("encoder.layers.1", "decoder.layers.0"):
        into = scores[f"{layer}.fc1.weight"].sum(dim=1) + scores[f"{layer}.fc1.bias"]
        assert torch.allclose(into, scores[f"{layer}.fc2.weight"].sum(dim=0), rtol=1e-5, atol=0)
        assert (into > 0).all()


@pytest.mark.parametrize("normalize_before", [False, True])
@pytest.mark.parametrize("sparsity", [0.9, 0.98])
def test_no_matrix_of_a_transformer_is_emptied_in_a_hundred_rounds(sparsity, normalize_before):
    """In one round the same scores empty some."""
    model = transformer(normalize_before=normalize_before)
    from fairseq_lottery.inference.flow_output import flow_output

    before = {name: p.clone() for name, p in model.named_parameters()}
    full = full_mask(shapes_of(before))
    masks = [
        find_mask(UntrainedModel(model, forward=flow_output), "synflow", full, sparsity,
                  partial(select, scope="global"), rounds)
        for rounds in (1, None)
    ]  # fmt: skip
    assert [mask.pruned for mask in masks] == [round(sparsity * full.prunable)] * 2
    assert masks[0].emptied and not masks[1].emptied
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert "residual_connection" not in vars(model.encoder.layers[0])


class Subtraction(nn.Linear):
    def forward(self, values):
        return super().forward(values)[:, :1] - super().forward(values)[:, 1:]


@pytest.mark.parametrize("module, message", [
    (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), "1 is a batch norm, which makes positive"),
    (Subtraction(6, 4), "flow of weight is negative or undefined, because"),
    (nn.Sequential(nn.Linear(6, 4), nn.Threshold(1e9, 0)), "largest synaptic flow is 0.0, so it"),
    (nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()), "cannot pass through sigmoid, which"),
    (nn.Sequential(nn.Linear(6, 4), nn.ELU()), "cannot pass through elu, which is not linear"),
    (nn.Sequential(nn.Linear(6, 4), nn.LSTM(4, 4)), "cannot pass through lstm, which is"),
    (nn.Sequential(nn.Linear(6, 4), nn.LSTMCell(4, 4)), "pass through lstm_cell, which is"),
    (nn.Sequential(nn.Linear(6, 4), nn.GLU()), "cannot pass through glu, which is not linear"),
    (nn.utils.weight_norm(nn.Linear(6, 4)), "cannot be copied, because it computes weights from"),
    (nn.TransformerEncoderLayer(6, 2), r"cannot pass through torch's nn\.MultiheadAttention"),
])  # fmt: skip
def test_what_does_not_keep_numbers_positive_is_refused_and_leaves_no_trace(module, message):
    with pytest.raises(LotteryError, match=message):
        flow(module.eval(), ones)
    # the mode has ended
    assert torch.softmax(torch.ones(2), 0).tolist() == [0.5, 0.5]
    assert torch.tanh(torch.ones(1)) < 1
    values = torch.ones(2, 6)
    output = module.to(torch.float32)(values)
    assert len(output[0] if isinstance(output, tuple) else output) == 2


def gelu_accurate(values):
    """As fairseq computes it, with a power that is not linear."""
    return 0.5 * values * (1 + torch.tanh(math.sqrt(2 / math.pi) * (values + 0.044715 * values**3)))


class Activated(nn.Linear):
    """A layer that names its activation as fairseq's layers do."""

    def __init__(self, activation):
        super().__init__(6, 4)
        self.activation_fn = activation

    def forward(self, values):
        return self.activation_fn(super().forward(values))


def test_both_formulas_of_gelu_pass_the_same_flow():
    layers = [Activated(nn.functional.relu), Activated(gelu_accurate)]
    layers[1].load_state_dict(layers[0].state_dict())
    flows = [flow(layer, ones)["weight"] for layer in layers]
    assert torch.equal(*flows)
    other = Activated(lambda values: values**3)
    with pytest.raises(LotteryError, match="cannot pass through (__)?pow"):
        flow(other, ones)


def test_a_flow_beyond_float64_is_refused():
    module = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(12)])
    with torch.no_grad():
        for layer in module:
            layer.weight.fill_(1e30)
    with pytest.raises(LotteryError, match="exceeds the range of float64"):
        flow(module, lambda m: m(torch.ones(1, 4).double()))


def test_the_registered_score_is_the_one_that_is_computed():
    weights, gradients = {"w": torch.tensor([[-2.0, 3.0]])}, {"w": torch.tensor([[5.0, 7.0]])}
    scores = score_all(SCORES["synflow"], weights, gradients=gradients)
    assert scores["w"].tolist() == [[10.0, 21.0]]


def test_a_mask_keeps_pruned_weights_without_flow():
    module = network()
    keep = torch.ones(8, 6, dtype=torch.bool)
    keep[:, 0] = False
    scores = flow(module, ones, Mask({"0.weight": keep}))
    assert not scores["0.weight"][:, 0].any() and (scores["0.weight"][:, 1:] > 0).all()
