"""Training with a ticket equals a masked loop in plain torch, to the bit.

The loop shares with fairseq-train what is not ours: the model, the batches, the criterion. Adam,
its schedule, the clipping and the masks are written out, the ticket is made by
``torch.nn.utils.prune`` of the dense run's weights.
"""

import math

import pytest
import torch
from torch.nn.utils import clip_grad_norm_, prune
from toy import drawing

from fairseq_lottery.formats import read_source, untie

pytest.importorskip("fairseq")

pytestmark = pytest.mark.slow

PADDING = 1


def fairseq_parts(arguments):
    """What fairseq-train builds from its command line, and its training set."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    parser = options.get_training_parser()
    parsed = options.parse_args_and_arch(parser, input_args=[str(a) for a in arguments])
    cfg = convert_namespace_to_omegaconf(parsed)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(cfg.common.seed)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    task.load_dataset("train")
    return task, model.train(), criterion


def batches(task):
    """The batches of fairseq-train's epochs, one after another."""
    epochs = task.get_batch_iterator(
        task.dataset("train"), max_tokens=500, max_positions=(500, 500), seed=3,
        required_batch_size_multiple=8, ignore_invalid_inputs=True,
    )  # fmt: skip
    while True:
        yield from epochs.next_epoch_itr(shuffle=True)


def magnitude_masks(trained, sparsity):
    """Name -> 1 where a weight stays: the largest of every matrix, by torch's own pruning."""
    masks = {}
    for name, weight in trained.items():
        if weight.dim() == 2:
            module = torch.nn.Module()
            embedding = "embed_tokens" in name
            rows = [i for i in range(len(weight)) if not (embedding and i == PADDING)]
            module.weight = torch.nn.Parameter(weight[rows].clone())
            prune.l1_unstructured(module, "weight", amount=sparsity)
            masks[name] = torch.ones_like(weight)
            masks[name][rows] = module.weight_mask
    return masks


def train_by_hand(task, model, criterion, start, masks, updates):
    """Adam under masks: 3e-3 after 10 updates, inverse square root, decay 0.01, clipped at 1."""
    named = {n: p for n, p in model.named_parameters() if n in start}
    for name, weight in named.items():
        weight.data = start[name] * masks.get(name, 1)
    first = {name: torch.zeros_like(weight) for name, weight in named.items()}
    second = {name: torch.zeros_like(weight) for name, weight in named.items()}
    for update, batch in zip(range(1, updates + 1), batches(task)):
        torch.manual_seed(3 + update - 1)  # dropout
        rate = 3e-4 * (update - 1) if update <= 10 else 3e-3 * 10**0.5 * (update - 1) ** -0.5
        model.zero_grad()
        loss, size, _ = criterion(model, batch)
        loss.backward()
        for name, weight in named.items():
            weight.grad *= masks.get(name, 1)
            weight.grad *= 1 / size
        clip_grad_norm_(list(named.values()), 1.0)
        step = rate * math.sqrt(1 - 0.98**update) / (1 - 0.9**update)
        for name, weight in named.items():
            first[name].mul_(0.9).add_(weight.grad, alpha=1 - 0.9)
            second[name].mul_(0.98).addcmul_(weight.grad, weight.grad, value=1 - 0.98)
            weight.data.add_(weight.data, alpha=-0.01 * rate)
            weight.data.addcdiv_(first[name], second[name].sqrt().add_(1e-8), value=-step)
            weight.data *= masks.get(name, 1)
    return {name: weight.data for name, weight in named.items()}


def test_a_ticket_trained_by_hand(toy, dense):
    toy.train("slt", *drawing(dense, 0.8)).ok()
    trained, _ = untie(toy.load("slt", "checkpoint_last.pt")["model"])
    masks = magnitude_masks(read_source(dense / "checkpoint_last.pt").weights, 0.8)
    start = read_source(dense / "snapshot_5.safetensors").weights
    parts = fairseq_parts(toy.arguments("none", optimizer="adam", lottery=False))
    by_hand = train_by_hand(*parts, start, masks, updates=20)
    assert set(by_hand) == set(start)
    for name, weight in by_hand.items():
        assert torch.equal(weight, trained[name]), name
    pruned = sum(int((mask == 0).sum()) for mask in masks.values())
    assert pruned == toy.mask("slt", "checkpoint_last.pt").pruned
