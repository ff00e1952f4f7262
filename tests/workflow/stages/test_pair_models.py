"""Counts of a model with masks of pairs of languages, and checks against its row."""

import os

import pytest
import small
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_to_state, read_checkpoint
from fairseq_lottery.formats.pair_masks import pair_masks_to_state
from fairseq_lottery.masks import PairMasks, find_score, score_all, select
from fairseq_lottery.workflow.stages.selected_model import choose, measure

MATRIX = "decoder.layers.0.fc1.weight"


@pytest.fixture
def masks():
    """Two random masks of 50 %; two pairs share the second."""
    full, weights = small.full_mask(), small.weights(1)
    score, _ = find_score("random")
    one, two = (
        select(score_all(score, {n: weights[n] for n in full}, seed=seed), full, 0.5, "layer")
        for seed in (1, 2)
    )
    return PairMasks({"en-de": one, "en-fr": two, "fr-en": two})


@pytest.fixture
def model(tmp_path, masks):
    """The last model of a run, as the workflow keeps it."""
    weights = small.weights(1)
    for name in masks.union:
        weights[name][~masks.union[name]] = 0
    lottery = {
        "mask": mask_to_state(masks.union),
        "dictionaries": small.DICTIONARIES.to_tensors(),
        "pair_masks": pair_masks_to_state(masks),
    }
    small.save_checkpoint(tmp_path / "checkpoint_last.pt", weights, task_state={"lottery": lottery})
    return choose(tmp_path, "last")


def replace(model, state):
    """Save a changed state in the place of the file that its tensors are read from."""
    torch.save(state, f"{model}.new")
    os.replace(f"{model}.new", model)


def test_the_counts_are_those_of_one_pair(model, masks):
    found = measure(model, 0.5)
    assert found.pruned == masks["en-de"].pruned and found.prunable == small.PRUNABLE
    assert found.denominator == "all-matrices" and found.mask is None
    assert found.pairs == {pair: mask.sparsity for pair, mask in masks.items()}
    shares = [1 - masks[pair].sparsity_of(MATRIX) for pair in masks]
    assert found.matrices[MATRIX] == pytest.approx(sum(shares) / 3)
    assert found.record["pair_mask"] == "en-de" and "pairs" not in found.row
    assert masks.union.pruned < found.pruned


@pytest.mark.parametrize(
    "rule", ["fr-en", "union:en-de,fr-en", "intersection:en-de,fr-en", "sides:en-de,en-fr"]
)
def test_the_counts_of_a_rule(model, masks, rule):
    found = measure(model, 0.5, pair_mask=rule)
    assert found.pruned == masks.find("de-fr", rule).pruned
    assert found.row["pair_mask"] == rule


def test_a_model_with_one_mask_has_no_entries_for_pairs(tmp_path, masks):
    weights, mask = small.weights(1), masks["en-de"]
    for name in mask:
        weights[name][~mask[name]] = 0
    small.save_checkpoint(tmp_path / "checkpoint_last.pt", weights, mask=mask)
    found = measure(choose(tmp_path, "last"), 0.5)
    assert not {"pairs", "pair_mask"} & {*found.record, *found.row}
    assert found.mask == mask


def test_every_mask_must_have_the_sparsity_of_the_row(model, masks):
    with pytest.raises(LotteryError, match=r"mask of en-de in .*last\.pt has sparsity 0\.[45]"):
        measure(model, 0.6)
    state = read_checkpoint(model)
    denser = PairMasks({**masks, "fr-en": small.full_mask()})
    state["task_state"]["lottery"]["pair_masks"] = pair_masks_to_state(denser)
    state["task_state"]["lottery"]["mask"] = mask_to_state(denser.union)
    replace(model, state)
    with pytest.raises(LotteryError, match=r"mask of fr-en in .* has sparsity 0\.0000, expected"):
        measure(model, 0.5)


def test_weights_that_no_pair_keeps_must_be_zero(model, masks):
    state = read_checkpoint(model)
    state["model"][MATRIX][:] = 1
    replace(model, state)
    with pytest.raises(LotteryError, match="nonzero weights that its mask prunes"):
        measure(model, 0.5)
