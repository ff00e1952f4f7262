"""Whole trainings that mask in groups, as on a GPU: the same bits as matrix by matrix."""

import mask_groups
import pytest
from toy import (
    PRECISIONS,
    assert_pruned,
    assert_same_training,
    half_precision_trains_on_cpu,
    pretend_cuda,
    train_two,
)

pytestmark = pytest.mark.slow

#: the mask is set at the start, and changes after updates 1, 3, 5 and 7
PRUNING = ("--prune-to", 0.8, "--prune-start", 1, "--prune-end", 7, "--prune-every", 2)


def in_groups(size=10_000):
    def prelude():
        pretend_cuda()
        mask_groups.group_masks(size)

    return prelude


def products(done):
    """The number of tensors of each fused product."""
    return [int(line.split()[-1]) for line in done.out.splitlines() if line.startswith("fused")]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_training_in_groups_is_the_same(toy, precision):
    if "16" in precision and not half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    flags = (*PRECISIONS[precision], *PRUNING)
    toy.train("single", *flags, updates=9, prelude=pretend_cuda).ok()
    done = toy.train("grouped", *flags, updates=9, prelude=in_groups()).ok()
    # flat fp16 has one tensor, which needs no group
    assert bool(products(done)) == (precision != "fp16-flat")
    states = [toy.load(run, "checkpoint_last.pt") for run in ("single", "grouped")]
    assert_same_training(*states)
    assert_pruned(states[1], toy.mask("grouped", "checkpoint_last.pt"))


def test_products_are_counted_by_updates_and_not_by_batches(toy):
    """All matrices are one group: a product for gradients, for weights, and for each mask."""
    flags = (*PRUNING, "--update-freq", 4)
    toy.train("single", *flags, updates=9).ok()
    done = toy.train("grouped", *flags, updates=9, prelude=in_groups(50_000)).ok()
    mask = toy.mask("grouped", "checkpoint_last.pt")
    assert products(done) == [len(mask)] * (2 * 9 + 1 + 4)
    states = [toy.load(run, "checkpoint_last.pt") for run in ("single", "grouped")]
    assert_same_training(*states)


def test_two_processes_in_groups_are_the_same(toy):
    for run, prelude in (("single", None), ("grouped", in_groups())):
        first, second = train_two(toy, run, *PRUNING, updates=9, prelude=prelude)
        assert products(first.ok()) == products(second.ok())
        assert bool(products(first)) == (run == "grouped")
    states = [toy.load(run, "checkpoint_last.pt") for run in ("single", "grouped")]
    assert_same_training(*states)
