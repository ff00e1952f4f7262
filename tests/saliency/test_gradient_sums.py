"""Sums over batches, against derivatives that are written out with plain torch."""

import copy
import math

import pytest
import torch
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.saliency.gradient_sums import sum_gradients, sum_hessian_products
from fairseq_lottery.saliency.private_copy import PrivateCopy


class Network(nn.Module):
    """Two layers with dropout and a buffer that training changes."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(5, 7), nn.Linear(7, 3, bias=False)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, values):
        self.calls += 1
        hidden = nn.functional.dropout(torch.tanh(self.first(values)), 0.5, self.training)
        return self.second(hidden)


NAMES = ("first.weight", "second.weight")


def loss(module, batch):
    values, labels = batch
    return nn.functional.cross_entropy(module(values), labels, reduction="sum")


def batches(count=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(6, 5, generator=generator), torch.randint(3, (6,), generator=generator))
        for _ in range(count)
    ]


def everything():
    """All batches as one, whose loss is the sum of theirs."""
    values, labels = zip(*batches())
    return torch.cat(values), torch.cat(labels)


def in_float64(network, function):
    """Value of ``function`` of the two matrices, in float64."""
    values, labels = everything()
    first, second = (w.detach().double().requires_grad_() for w in (network.first.weight,
                     network.second.weight))  # fmt: skip
    hidden = torch.tanh(values.double() @ first.t() + network.first.bias.double())
    total = nn.functional.cross_entropy(hidden @ second.t(), labels, reduction="sum")
    return function(total, (first, second))


def test_gradients_are_those_of_all_batches_together_without_dropout():
    network = Network().train()
    sums = sum_gradients(PrivateCopy(network, NAMES), batches(), loss)
    expected = in_float64(network, lambda total, w: torch.autograd.grad(total, w))
    for name, gradient in zip(NAMES, expected):
        assert sums[name].dtype == torch.float32
        assert torch.allclose(sums[name].double(), gradient, rtol=1e-5, atol=1e-6)


def test_products_with_the_hessian_are_those_of_its_whole_matrix():
    network = Network()
    products = sum_hessian_products(PrivateCopy(network, NAMES), batches(), loss)
    values, labels = everything()
    shapes = [dict(network.named_parameters())[name].shape for name in NAMES]
    sizes = [shape.numel() for shape in shapes]

    def total(flat):
        first, second = (part.view(s) for part, s in zip(flat.split(sizes), shapes))
        hidden = torch.tanh(values.double() @ first.t() + network.first.bias.double())
        return nn.functional.cross_entropy(hidden @ second.t(), labels, reduction="sum")

    flat = torch.cat([dict(network.named_parameters())[n].reshape(-1) for n in NAMES])
    flat = flat.detach().double().requires_grad_()
    (gradient,) = torch.autograd.grad(total(flat), flat)
    expected = torch.autograd.functional.hessian(total, flat) @ gradient
    for name, part, shape in zip(NAMES, expected.split(sizes), shapes):
        assert torch.allclose(products[name].double(), part.view(shape), rtol=1e-3, atol=1e-4)


def test_a_mask_is_applied_and_pruned_weights_have_gradients():
    network = Network()
    keep = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    mask = Mask({"first.weight": keep, "second.weight": torch.ones(3, 7, dtype=torch.bool)})
    model = PrivateCopy(network, NAMES)
    model.set_mask(mask)
    sums = sum_gradients(model, batches(), loss)
    pruned = copy.deepcopy(network)
    with torch.no_grad():
        pruned.first.weight *= keep
    expected = in_float64(pruned, lambda total, w: torch.autograd.grad(total, w))
    assert torch.allclose(sums["first.weight"].double(), expected[0], rtol=1e-5, atol=1e-6)
    assert sums["first.weight"][~keep].abs().min() > 0


@pytest.mark.parametrize("function", [sum_gradients, sum_hessian_products])
def test_the_module_stays_as_it_is(function):
    network = Network().half().train()
    network.second.weight.grad = torch.ones(3, 7, dtype=torch.float16)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    exact = {"first.weight": torch.full((7, 5), 1 / 3)}
    model = PrivateCopy(network, NAMES, weights=exact)
    assert torch.equal(model.parameters["first.weight"], exact["first.weight"])
    sums = function(model, batches(), loss)
    assert all(tensor.abs().sum() > 0 for tensor in sums.values())
    assert all(torch.equal(before[n], tensor) for n, tensor in network.state_dict().items())
    assert network.training and network.first.training
    assert network.first.weight.grad is None and bool((network.second.weight.grad == 1).all())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("function", [sum_gradients, sum_hessian_products])
def test_processes_with_parts_of_the_batches_get_the_sums_of_one(function):
    """Each process is played in turn: the tensors that it would add up are recorded first."""
    network = Network()
    one = function(PrivateCopy(network, NAMES), batches(5), loss)
    shares = [batches(5)[:2], batches(5)[2:]]
    sent = [[], []]
    for _ in range(3):  # each turn knows one more exchange of the other process
        for rank in (0, 1):
            calls, others = [], sent[1 - rank]

            def total(tensor, calls=calls, others=others):
                calls.append(tensor.clone())
                if len(calls) <= len(others):
                    tensor += others[len(calls) - 1]

            sums = function(PrivateCopy(network, NAMES), shares[rank], loss, total)
            sent[rank] = calls
    assert all(torch.allclose(sums[n], one[n], rtol=1e-6, atol=0) for n in NAMES)


def test_attention_of_torch_has_a_second_derivative():
    torch.manual_seed(3)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    values = torch.randn(2, 5, 8)
    products = sum_hessian_products(
        PrivateCopy(layer, ["linear1.weight", "self_attn.in_proj_weight"]), [values],
        lambda module, batch: module(batch).pow(3).sum(),
    )  # fmt: skip
    assert all(tensor.abs().sum() > 0 for tensor in products.values())


def test_bad_input_is_refused():
    network = Network()
    with pytest.raises(LotteryError, match="no batches to compute gradients of"):
        sum_gradients(PrivateCopy(network, NAMES), [], loss)
    with pytest.raises(LotteryError, match=r"gradient of first\.weight is not finite"):
        sum_gradients(PrivateCopy(network, NAMES), batches(), lambda m, b: loss(m, b) * math.inf)
    with pytest.raises(LotteryError, match="no parameter third, which the mask prunes"):
        PrivateCopy(network, ["third"])


def test_a_parameter_that_the_loss_does_not_read_has_a_zero_gradient():
    network = Network()
    read = next(name for name, _ in network.named_parameters() if not name.startswith("unused"))
    sums = sum_gradients(PrivateCopy(network, ["unused.weight", read]), batches(), loss)
    assert torch.equal(sums["unused.weight"], torch.zeros(2, 2)) and sums[read].any()
    with pytest.raises(LotteryError, match="all summed gradients are 0, so they rank nothing"):
        sum_gradients(PrivateCopy(network, ["unused.weight"]), batches(), loss)
