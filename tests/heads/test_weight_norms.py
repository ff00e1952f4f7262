"""Norms of components, entry by entry and against fairseq's own ranking."""

import pytest
import torch
from live import anatomy, transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import weight_masks
from fairseq_lottery.heads.measures.weight_norms import adaprune, l1, l2

NORMS = {"l1": l1, "l2": l2, "adaprune": adaprune}


def model_weights(seed=1, **changes):
    model = transformer(seed=seed, **changes)
    return model, {name: p.detach() for name, p in trainable(model).items()}


def entries_of(kind, name, number, components, weights):
    """All entries of a component: those of matrices that are pruned with it, and biases."""
    shapes = {n: tuple(t.shape) for n, t in weights.items()}
    pruned = weight_masks(ComponentMask(components, {kind: {name: [number]}}), shapes)
    found = []
    for matrix, keep in pruned.items():
        found.append(weights[matrix][~keep])
        rows = ~keep.any(dim=1)
        if not matrix.endswith("out_proj.weight") and bool(rows.any()):
            found.append(weights[matrix.replace(".weight", ".bias")][rows])
    return torch.cat([one.flatten() for one in found]).double()


@pytest.mark.parametrize("norm, order", [("l1", 1), ("l2", 2)])
def test_against_the_entries_that_pruning_a_component_prunes(norm, order):
    model, weights = model_weights()
    components = anatomy(model)
    scores = NORMS[norm](weights, components)
    assert {k: {n: len(v) for n, v in m.items()} for k, m in scores.items()} == components.sizes
    for kind, modules in scores.items():
        for name, values in modules.items():
            for number in range(len(values)):
                entries = entries_of(kind, name, number, components, weights)
                assert float(values[number]) == pytest.approx(float(entries.norm(order)), rel=1e-12)


def test_adaprune_ranks_as_fairseq_does():
    model, weights = model_weights(seed=4)
    components = anatomy(model)
    scores = NORMS["adaprune"](weights, components)
    modules = dict(model.named_modules())
    if not hasattr(modules["encoder.layers.0.self_attn"], "_get_reserve_head_index"):
        pytest.skip("this fairseq has no head pruning of its own")
    for name, values in scores["heads"].items():
        kept = modules[name]._get_reserve_head_index(num_heads_to_keep=2)
        best = values.argsort(descending=True)[:2].tolist()
        width = len(weights[f"{name}.q_proj.bias"]) // components.heads[name]
        assert sorted(kept) == sorted((n * width, (n + 1) * width) for n in best)
    for name in (n for n in components.units if n.startswith("encoder")):
        removed = modules[name]._get_fc_rank(remove_num=5)
        assert removed == scores["units"][name].argsort()[:5].tolist()
        assert torch.equal(scores["units"][name], NORMS["l1"](weights, components)["units"][name])


def test_golden():
    name, layer = "encoder.layers.0.self_attn", "encoder.layers.0"
    weights = {f"{name}.{p}_proj.weight": torch.ones(2, 3) for p in "qkv"}
    weights[f"{name}.q_proj.bias"] = torch.tensor([0.0, -4.0])
    weights[f"{name}.out_proj.weight"] = torch.tensor([[1.0, -2.0]] * 5)
    weights[f"{layer}.fc1.weight"] = torch.tensor([[3.0], [0.0]])
    weights[f"{layer}.fc2.weight"] = torch.tensor([[-4.0, 5.0]])
    weights[f"{layer}.fc2.bias"] = torch.tensor([-2.0])
    small = Anatomy({name: 2}, {layer: 2})
    l1, l2, ada = (NORMS[norm](weights, small) for norm in ("l1", "l2", "adaprune"))
    assert l1["heads"][name].tolist() == [9 + 5, 9 + 4 + 10]
    assert l2["heads"][name].tolist() == [14**0.5, 45**0.5]
    assert ada["heads"][name].tolist() == [9, 13]
    assert l1["units"][layer].tolist() == [7, 5] and l1["blocks"][layer].tolist() == [14]
    assert l2["units"][layer].tolist() == [5, 5]
    assert float(l2["blocks"][layer]) == pytest.approx(54**0.5)


def test_half_precision_is_summed_in_double():
    model, weights = model_weights()
    halves = {name: value.half() for name, value in weights.items()}
    whole = {name: value.double() for name, value in halves.items()}
    for norm in NORMS.values():
        a, b = norm(halves, anatomy(model)), norm(whole, anatomy(model))
        for kind in a:
            assert all(torch.equal(a[kind][n], b[kind][n]) for n in a[kind])


def test_refusals():
    model, weights = model_weights()
    name = "decoder.layers.1.encoder_attn.k_proj.weight"
    with pytest.raises(LotteryError, match=f"no {name}"):
        NORMS["l1"]({n: t for n, t in weights.items() if n != name}, anatomy(model))
    with pytest.raises(LotteryError, match="does not divide into 4 components"):
        NORMS["l1"]({**weights, name: torch.ones(15, 16)}, anatomy(model))
