"""Wanda and SparseGPT: statistics of inputs against numpy, and the error that they predict."""

import numpy as np
import pytest
import torch
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import full_mask, score_all, select, shapes_of
from fairseq_lottery.masks.scores import SCORES
from fairseq_lottery.saliency import UntrainedModel, find_mask, sum_statistic


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)).train()


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 7, 5, generator=generator) for _ in range(4)]


def inputs(module):
    """Inputs of both layers, (positions, features) in fp64, computed with numpy."""
    first = torch.cat(batches()).reshape(-1, 5).double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (module[0].weight, module[0].bias))
    return {"0.weight": first, "2.weight": np.tanh(first @ weight.T + bias)}


def model_of(module):
    return UntrainedModel(module, batches(), lambda m, batch: m(batch).sum())


def statistic(module, score):
    full = full_mask(shapes_of(dict(module.named_parameters())))
    return sum_statistic(model_of(module), score, full)


def test_norms_of_inputs():
    module = network()
    for name, values in inputs(module).items():
        norms = statistic(module, "wanda")[name]
        assert norms.shape == dict(module.named_parameters())[name].shape
        expected = np.broadcast_to(np.linalg.norm(values, axis=0), norms.shape)
        np.testing.assert_allclose(norms.numpy(), expected, rtol=1e-5)


def test_diagonals_of_inverse_hessians():
    module = network()
    for name, values in inputs(module).items():
        product = values.T @ values
        product += 0.01 * product.diagonal().mean() * np.eye(len(product))
        expected = np.linalg.inv(product).diagonal()
        found = statistic(module, "sparsegpt")[name]
        np.testing.assert_allclose(found.numpy(), np.broadcast_to(expected, found.shape), rtol=1e-4)


def test_the_score_of_sparsegpt_is_the_error_after_the_best_repair():
    """Least squares over the other weights of a row, with the damping as more positions."""
    module = network()
    values = inputs(module)["0.weight"]
    damping = np.sqrt(0.01 * (values**2).sum(axis=0).mean())
    values = np.concatenate([values, damping * np.eye(5)])
    weights = {"0.weight": module[0].weight.detach()}
    sums = statistic(module, "sparsegpt")
    scores = score_all(SCORES["sparsegpt"], weights, gradients=sums)["0.weight"]
    for row, column in ((0, 0), (3, 2), (5, 4)):
        weight = module[0].weight.detach().double().numpy()[row]
        others = np.delete(values, column, axis=1)
        best = np.linalg.lstsq(others, values @ weight, rcond=None)[0]
        error = ((others @ best - values @ weight) ** 2).sum()
        assert float(scores[row, column]) == pytest.approx(error, rel=1e-3)


def test_masks_are_compared_within_rows_as_by_numpy():
    module = network()
    full = full_mask(shapes_of(dict(module.named_parameters())))
    mask = find_mask(model_of(module), "wanda", full, 0.5,
                     lambda scores, m, s: select(scores, m, s, "row"))  # fmt: skip
    for name, values in inputs(module).items():
        weights = dict(module.named_parameters())[name].detach().double().numpy()
        scores = np.abs(weights) * np.linalg.norm(values, axis=0)
        pruned = round(0.5 * weights.size)
        for number, row in enumerate(scores):
            count = pruned // len(scores) + (number < pruned % len(scores))
            keep = np.ones(len(row), dtype=bool)
            keep[np.argsort(row, kind="stable")[:count]] = False
            assert mask[name][number].tolist() == keep.tolist()


def test_processes_add_up_their_inputs():
    module = network()
    full = full_mask(shapes_of(dict(module.named_parameters())))
    whole = sum_statistic(model_of(module), "wanda", full)
    part = UntrainedModel(module, batches()[:2], lambda m, b: m(b).sum())
    halves = {n: t**2 for n, t in sum_statistic(part, "wanda", full).items()}
    part = UntrainedModel(module, batches()[2:], lambda m, b: m(b).sum())
    for name, tensor in sum_statistic(part, "wanda", full).items():
        assert torch.allclose((halves[name] + tensor**2).sqrt(), whole[name])
    doubled = UntrainedModel(module, batches(), lambda m, b: m(b).sum(), total=lambda t: t.mul_(2))
    for name, tensor in sum_statistic(doubled, "wanda", full).items():
        assert torch.allclose(tensor, whole[name] * 2**0.5)


def test_what_has_no_inputs_is_refused():
    module = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    full = full_mask(shapes_of(dict(module.named_parameters())))
    model = UntrainedModel(module, [torch.tensor([1])], lambda m, batch: m(batch).sum())
    with pytest.raises(LotteryError, match=r"0\.weight is not the weight of a linear layer, who"):
        sum_statistic(model, "wanda", full)
    tied = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5))
    tied[1].weight = tied[0].weight
    full = full_mask(shapes_of(dict(tied.named_parameters())))
    with pytest.raises(LotteryError, match=r"0\.weight is not the weight of a linear layer, who"):
        sum_statistic(UntrainedModel(tied, model.batches, model.loss), "wanda", full)
    with pytest.raises(LotteryError, match="there are no batches to record inputs of"):
        sum_statistic(UntrainedModel(network(), (), lambda m, b: m(b)), "wanda",
                      full_mask(shapes_of(dict(network().named_parameters()))))  # fmt: skip


def test_a_layer_that_is_not_called_has_inputs_of_zero():
    module = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    full = full_mask(shapes_of(dict(module.named_parameters())))
    model = UntrainedModel(module, [torch.ones(1, 3)], lambda m, batch: m[0](batch).sum())
    assert not sum_statistic(model, "wanda", full)["1.weight"].any()
    assert sum_statistic(model, "sparsegpt", full)["1.weight"].tolist() == [[1.0] * 3] * 2
