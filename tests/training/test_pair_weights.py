"""Weights under the masks of pairs: what is computed, and which gradients are added up."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.pair_masks import pair_masks_to_state
from fairseq_lottery.masks import Mask, PairMasks

pytest.importorskip("fairseq")

from fairseq_lottery.training.pair_batches import step_by_pairs
from fairseq_lottery.training.pair_weights import PairWeights
from fairseq_lottery.training.start.run_pair_masks import find_pair_masks

PAIRS = ("en-de", "en-fr")


@pytest.fixture(params=[torch.float32, torch.float64, torch.bfloat16])
def model(request):
    """A tied embedding and output, a masked layer, and parameters without a mask."""
    torch.manual_seed(3)
    model = nn.ModuleDict({"table": nn.Embedding(11, 6), "layer": nn.Linear(6, 6)})
    return model.to(request.param)


@pytest.fixture
def weights(model):
    chance = torch.Generator().manual_seed(1)
    shapes = {"table.weight": (11, 6), "layer.weight": (6, 6)}
    masks = [
        Mask({name: torch.rand(shape, generator=chance) < 0.5 for name, shape in shapes.items()})
        for _ in PAIRS
    ]
    return PairWeights(model, PairMasks(dict(zip(PAIRS, masks))))


def loss_of(model, tokens, table=None, weight=None):
    table = model["table"].weight if table is None else table
    weight = model["layer"].weight if weight is None else weight
    hidden = torch.tanh(nn.functional.linear(table[tokens], weight, model["layer"].bias))
    return -torch.log_softmax(hidden @ table.T, -1)[range(len(tokens)), tokens].sum()


BATCHES = {"main:en-de": torch.tensor([1, 2, 5]), "mined:en-fr": torch.tensor([2, 7])}


def step(model):
    def run(tokens):
        loss = loss_of(model, tokens)
        loss.backward()
        return loss.detach(), len(tokens), {"tokens": len(tokens), "loss": loss.detach()}

    return run


def test_losses_and_gradients_are_those_of_multiplied_masks(model, weights):
    """An independent oracle: the weights times the mask, in one graph for all pairs."""
    masks = weights.masks
    total = sum(
        loss_of(
            model,
            tokens,
            model["table"].weight * masks[key.partition(":")[2]]["table.weight"],
            model["layer"].weight * masks[key.partition(":")[2]]["layer.weight"],
        )
        for key, tokens in BATCHES.items()
    )
    expected = torch.autograd.grad(total, list(model.parameters()))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss, size, logged = step_by_pairs(BATCHES, weights, step(model))
    exact = {torch.bfloat16: 0.1, torch.float32: 1e-5, torch.float64: 1e-12}[loss.dtype]
    assert loss.item() == pytest.approx(total.item(), rel=exact)
    assert size == logged["tokens"] == 5 and logged["loss"] == loss
    for (name, parameter), gradient in zip(model.named_parameters(), expected):
        assert torch.equal(parameter, before[name])
        assert torch.allclose(parameter.grad, gradient, rtol=exact, atol=exact)
        if name in masks.union:
            assert not parameter.grad[~masks.union[name]].any()


def test_each_pair_adds_gradients_of_its_weights_only(model, weights):
    """Bit for bit: the second pair changes no gradient of weights that only the first keeps."""
    first, second = BATCHES.items()
    step_by_pairs(dict([first]), weights, step(model))
    alone = {name: p.grad.clone() for name, p in model.named_parameters()}
    step_by_pairs(dict([second]), weights, step(model))
    for name, mask in weights.masks["en-fr"].items():
        grad = dict(model.named_parameters())[name].grad
        assert torch.equal(grad[~mask], alone[name][~mask]) and not torch.equal(grad, alone[name])


def test_weights_outside_a_mask_do_not_affect_the_loss(model, weights):
    with weights.under("en-de"):
        before = loss_of(model, BATCHES["main:en-de"])
    with torch.no_grad():
        for name, keep in weights.masks["en-de"].items():
            dict(model.named_parameters())[name][~keep] = float("nan")
    with weights.under("en-de"):
        assert torch.equal(loss_of(model, BATCHES["main:en-de"]), before)


def test_an_error_restores_the_weights_and_gradients(model, weights):
    step_by_pairs(BATCHES, weights, step(model))
    before = {name: (p.detach().clone(), p.grad.clone()) for name, p in model.named_parameters()}

    def fails(tokens):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        step_by_pairs(BATCHES, weights, fails)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name][0]) and torch.equal(
            parameter.grad, before[name][1]
        )


def test_backends_that_add_up_in_each_backward_pass_are_refused(weights):
    masks = weights.masks
    run = SimpleNamespace(state={"pair_masks": pair_masks_to_state(masks)}, path="last.pt")
    cfg = SimpleNamespace(pair_masks=None, prune_to=None)
    for backend, processes in (("legacy_ddp", 2), ("no_c10d", 2), ("pytorch_ddp", 1)):
        training = SimpleNamespace(
            distributed_training=SimpleNamespace(
                ddp_backend=backend, distributed_world_size=processes
            )
        )
        assert find_pair_masks(cfg, training, run, masks.union).digest() == masks.digest()
    training.distributed_training.distributed_world_size = 2
    with pytest.raises(LotteryError, match="pytorch_ddp adds up gradients in each backward pass"):
        find_pair_masks(cfg, training, run, masks.union)


def test_another_model_is_refused(model):
    masks = PairMasks({"en-de": Mask({"layer.weight": torch.ones(5, 6, dtype=torch.bool)})})
    with pytest.raises(LotteryError, match=r"the mask of layer.weight has shape \(5, 6\)"):
        PairWeights(model, masks)
