"""Masks with a pattern N:M, or that close heads, are not regrown; those of magnitudes are."""

import pytest
import torch
from live import transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.masks import Mask, full_mask, pattern_of, score_all, select
from fairseq_lottery.masks.nm_selection import has_pattern
from fairseq_lottery.masks.scores import magnitude
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.training.start.pruning_plan import refuse_structure

MODEL = transformer()
WEIGHTS = {name: p.detach() for name, p in trainable(MODEL).items()}
SHAPES = {name: tuple(p.shape) for name, p in WEIGHTS.items()}


def selected(sparsity, scope="layer", prunable="no-embeddings"):
    mask = full_mask(SHAPES, prunable)
    scores = score_all(magnitude, {name: WEIGHTS[name] for name in mask})
    return select(scores, mask, sparsity, scope)


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.8, 0.98])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_mask_of_magnitudes_has_no_structure(sparsity, scope):
    mask = selected(sparsity, scope)
    assert pattern_of(mask) is None
    refuse_structure(mask, {"parts": None}, "set")


@pytest.mark.parametrize("prunable", ["no-embeddings", "all-matrices"])
@pytest.mark.parametrize("pattern, share", [("1:2", 0.5), ("2:4", 0.5), ("5:8", 0.375)])
def test_a_pattern_is_seen_in_the_mask(pattern, share, prunable):
    mask = selected(share, pattern, prunable)
    assert pattern_of(mask) == pattern
    with pytest.raises(LotteryError, match=f"the mask has the pattern {pattern}, but --pruner set"):
        refuse_structure(mask, {}, "set")
    name = next(n for n in mask if n not in mask.protected)
    entries = {n: keep.clone() for n, keep in mask.items()}
    entries[name][0, : int(pattern[-1])] = True
    assert pattern_of(Mask(entries, mask.protected)) is None


@pytest.mark.parametrize("record", [{"parts": {"closed": {}}}, {"closes": True}])
def test_closed_heads_are_told_by_the_ticket(record):
    with pytest.raises(LotteryError, match="the mask has pruned heads or FFN units, but --pruner"):
        refuse_structure(selected(0.5), record, "set")
    both = selected(0.5, "2:4")
    with pytest.raises(LotteryError, match="has the pattern 2:4 and pruned heads"):
        refuse_structure(both, record, "set")


@pytest.mark.parametrize("pattern, share", [("1:2", 0.5), ("2:4", 0.5), ("5:8", 0.375)])
def test_a_pattern_is_kept_where_the_scope_is_the_pattern(pattern, share):
    mask = selected(share, pattern)
    refuse_structure(mask, {}, "rigl", pattern, keeps_pattern=True)
    with pytest.raises(LotteryError, match=f"choose --scope {pattern} to keep the pattern, or --p"):
        refuse_structure(mask, {}, "rigl", "layer", keeps_pattern=True)
    with pytest.raises(LotteryError, match="has pruned heads or FFN units, but .*; choose --prun"):
        refuse_structure(mask, {"closes": True}, "rigl", pattern, keeps_pattern=True)
    sentence = f"--scope {pattern} with --pruner rigl requires a mask that keeps"
    with pytest.raises(LotteryError, match=sentence):
        refuse_structure(selected(share), {}, "rigl", pattern, keeps_pattern=True)
    assert has_pattern(mask, Pattern.parse(pattern))
    assert not has_pattern(mask, Pattern.parse("1:3"))


def test_a_matrix_whose_rows_do_not_divide_has_no_pattern():
    keep = torch.tensor([[True, False, False], [True, False, False]])
    assert pattern_of(Mask({"a": keep})) == "1:3"
    assert pattern_of(Mask({"a": keep, "b": keep[:, :2]})) is None
