"""Rounds of a score that reads a stored model, from a mask with pruned components."""

import pytest

pytest.importorskip("fairseq")

import torch

from fairseq_lottery.formats import read_source
from fairseq_lottery.inference.flow_mask import find_flow_mask
from fairseq_lottery.masks import Mask, full_mask, select
from fairseq_lottery.saliency.synaptic_flow import HAS_MODES

pytestmark = pytest.mark.skipif(not HAS_MODES, reason="torch 1.12 has other function modes")


def with_rows_pruned(mask, share):
    """Return a mask without the last rows of every FFN matrix, as if units were pruned."""
    entries = {name: keep.clone() for name, keep in mask.items()}
    for name, keep in entries.items():
        if "fc1" in name:
            keep[int(len(keep) * (1 - share)) :] = False
    return Mask(entries, mask.protected)


def pruned_share(mask, excluded):
    return (mask.pruned - excluded.pruned) / (mask.prunable - excluded.pruned)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_rounds_start_at_the_sparsity_without_pruned_components(dense, scope):
    source = read_source(dense / "checkpoint_last.pt")
    full = full_mask(source.shapes)
    excluded = with_rows_pruned(full, 0.5)
    asked = []

    def choose(scores, mask, sparsity):
        asked.append(sparsity)
        return select(scores, mask, sparsity, scope, excluded=excluded)

    mask = find_flow_mask(source, "synflow", excluded, 0.5, choose, 4, excluded)
    assert asked == pytest.approx([1 - 0.5 ** (i / 4) for i in range(1, 5)], abs=1e-9)
    assert mask.is_subset_of(excluded)
    assert pruned_share(mask, excluded) == pytest.approx(0.5, abs=1e-3)
    # the mask of the first two rounds is pruned further from its own sparsity on
    asked.clear()
    half = find_flow_mask(source, "synflow", excluded, 1 - 0.5**0.5, choose, 2, excluded)
    again = find_flow_mask(source, "synflow", half, 0.5, choose, 2, excluded)
    assert asked[2:] == pytest.approx([1 - 0.5**0.75, 0.5], abs=1e-3)
    assert again.is_subset_of(half)
    assert pruned_share(again, excluded) == pytest.approx(0.5, abs=1e-3)


def test_rounds_leave_a_matrix_of_pruned_components_alone(dense):
    source = read_source(dense / "checkpoint_last.pt")
    full = full_mask(source.shapes)
    excluded = with_rows_pruned(full, 1)

    def choose(scores, mask, sparsity):
        return select(scores, mask, sparsity, "layer", excluded=excluded)

    mask = find_flow_mask(source, "synflow", excluded, 0.5, choose, 2, excluded)
    for name, keep in mask.items():
        expected = 1 if "fc1" in name else 0.5
        assert mask.sparsity_of(name) == pytest.approx(expected, abs=0.01)
        assert torch.equal(keep & ~excluded[name], torch.zeros_like(keep))
