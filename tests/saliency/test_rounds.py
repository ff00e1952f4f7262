"""Masks of SNIP, FORCE and GraSP in rounds, against loops in plain torch."""

from functools import partial

import pytest
import torch
from torch import nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import full_mask, select, shapes_of
from fairseq_lottery.saliency import UntrainedModel, find_mask, sum_statistic
from fairseq_lottery.saliency.rounds import sparsities
from fairseq_lottery.saliency.synaptic_flow import HAS_MODES

NAMES = ("0.weight", "2.weight", "4.weight")


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 4)
    ).double()


def loss(module, batch):
    return nn.functional.cross_entropy(module(batch[0]), batch[1], reduction="sum")


def untrained(module):
    generator = torch.Generator().manual_seed(4)
    batches = [
        (torch.randn(10, 6, generator=generator), torch.randint(4, (10,), generator=generator))
        for _ in range(3)
    ]
    return UntrainedModel(module, batches, loss)


def derivatives(module, model, masks, second=False):
    """Gradient of each masked matrix over all batches, or its product with the Hessian."""
    weights = [dict(module.named_parameters())[n].detach() * m for n, m in zip(NAMES, masks)]
    weights = [w.requires_grad_() for w in weights]
    biases = [module[i].bias.detach() for i in (0, 2, 4)]
    total = 0
    for values, labels in model.batches:
        hidden = values.double()
        for i, (weight, bias) in enumerate(zip(weights, biases)):
            hidden = hidden @ weight.t() + bias
            hidden = torch.tanh(hidden) if i < 2 else hidden
        total = total + nn.functional.cross_entropy(hidden, labels, reduction="sum")
    gradients = torch.autograd.grad(total, weights, create_graph=second)
    if not second:
        return gradients
    # half of the derivative of |g|^2 is Hg
    return [g / 2 for g in torch.autograd.grad(sum((g**2).sum() for g in gradients), weights)]


def loop(module, model, sparsity, rounds, can_regrow, second=False):
    """The masks after ``rounds`` rounds of exponential densities at global scope."""
    dense = [dict(module.named_parameters())[name].detach() for name in NAMES]
    masks = [torch.ones_like(w) for w in dense]
    sizes = [w.numel() for w in dense]
    for step in range(1, rounds + 1):
        found = derivatives(module, model, masks, second)
        scores = torch.cat([(w * g).reshape(-1) for w, g in zip(dense, found)])
        scores = scores if second else scores.abs()
        if not can_regrow:
            scores[torch.cat([m.reshape(-1) for m in masks]) == 0] = -torch.tensor(float("inf"))
        pruned = int((1 - (1 - sparsity) ** (step / rounds)) * sum(sizes) + 0.5)
        kept = torch.ones(sum(sizes))
        kept[scores.sort(stable=True).indices[:pruned]] = 0
        masks = [part.view(w.shape) for part, w in zip(kept.split(sizes), dense)]
    return masks


GLOBAL = partial(select, scope="global")


@pytest.mark.parametrize(
    "score, rounds, can_regrow, second",
    [
        ("snip", 1, False, False),
        ("snip", 6, False, False),
        ("force", 1, True, False),
        ("force", 6, True, False),
        ("grasp", 1, False, True),
        ("grasp", 3, False, True),
    ],
)
def test_masks_are_those_of_a_loop_in_plain_torch(score, rounds, can_regrow, second):
    module = network()
    model = untrained(module.float())
    full = full_mask(shapes_of(dict(module.named_parameters())))
    mask = find_mask(model, score, full, 0.7, GLOBAL, rounds)
    module = module.double()
    expected = loop(module, model, 0.7, rounds, can_regrow, second)
    assert mask.pruned == sum(int((m == 0).sum()) for m in expected)
    for name, keep in zip(NAMES, expected):
        assert torch.equal(mask[name], keep.bool()), name


def test_grasp_prunes_the_weights_whose_removal_costs_the_least_gradient_norm():
    """The norm grows, and after pruning the other end it shrinks (Wang et al., section 4)."""
    module = network(1)
    model = untrained(module.float())
    full = full_mask(shapes_of(dict(module.named_parameters())))

    def norm(mask):
        found = sum_statistic(model, "snip", mask)
        return sum(float((found[name] * mask[name]).norm()) ** 2 for name in mask)

    kept = find_mask(model, "grasp", full, 0.1, GLOBAL)
    statistic = sum_statistic(model, "grasp", full)
    opposite = GLOBAL({n: -dict(module.named_parameters())[n] * statistic[n] for n in full},
                      full, 0.1)  # fmt: skip
    assert norm(kept) > norm(full) > norm(opposite)


def test_weights_come_back_under_force_only():
    module = network().float()
    model = untrained(module)
    full = full_mask(shapes_of(dict(module.named_parameters())))
    for score, regrows in (("snip", False), ("force", True)):
        seen = []

        def watched(scores, mask, sparsity, seen=seen):
            seen.append(GLOBAL(scores, mask, sparsity))
            return seen[-1]

        find_mask(model, score, full, 0.9, watched, 12)
        assert any(not b.is_subset_of(a) for a, b in zip(seen, seen[1:])) == regrows
        assert [m.pruned for m in seen] == sorted({m.pruned for m in seen})


@pytest.mark.skipif(not HAS_MODES, reason="torch 1.12 has other function modes")
def test_one_round_of_snip_empties_a_matrix_that_rounds_keep():
    """A layer whose loss hardly depends on single weights: layer collapse (Tanaka et al.)."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(),
                           nn.Linear(200, 4))  # fmt: skip
    model = untrained(module)
    full = full_mask(shapes_of(dict(module.named_parameters())))
    once = find_mask(model, "snip", full, 0.995, GLOBAL)
    flow = find_mask(
        UntrainedModel(module, forward=lambda m: m(torch.ones(1, 6).double())),
        "synflow", full, 0.995, GLOBAL,
    )  # fmt: skip
    assert once.emptied == ["2.weight"] and not flow.emptied


def test_a_pruned_model_is_pruned_further():
    module = network().float()
    model = untrained(module)
    full = full_mask(shapes_of(dict(module.named_parameters())))
    first = select({n: torch.rand(k.shape) for n, k in full.items()}, full, 0.5, "global")
    for score in ("snip", "force", "grasp"):
        mask = find_mask(model, score, first, 0.8, GLOBAL, 4)
        assert mask.pruned == round(0.8 * full.prunable) and mask.is_subset_of(first)


def test_the_density_decreases_exponentially_to_the_exact_sparsity():
    assert sparsities(0.0, 0.875, 3) == [0.5, 0.75, 0.875]
    assert sparsities(0.5, 0.875, 2) == [0.75, 0.875]
    assert sparsities(0.3, 0.7, 1) == [0.7]
    steps = sparsities(0.0, 0.98, 100)
    assert steps == sorted(steps) and steps[-1] == 0.98 and len(steps) == 100
    with pytest.raises(LotteryError, match="--score-rounds 0 is out of range; give 1 or more"):
        sparsities(0.0, 0.5, 0)


def test_what_a_model_lacks_is_said():
    module = network().float()
    full = full_mask(shapes_of(dict(module.named_parameters())))
    with pytest.raises(LotteryError, match="score snip requires a loss; give the model one"):
        find_mask(UntrainedModel(module), "snip", full, 0.5, GLOBAL)
    with pytest.raises(LotteryError, match="score synflow has no sum over batches"):
        sum_statistic(untrained(module), "synflow", full)
    with pytest.raises(LotteryError, match="synflow needs a function that computes the model's"):
        find_mask(untrained(module), "synflow", full, 0.5, GLOBAL)
