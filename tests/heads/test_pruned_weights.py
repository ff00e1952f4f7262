"""Closed parts as pruned weights: exactly which, and what is read back from them."""

import pytest
import small
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.pruned_weights import (
    clear_biases,
    closed_in,
    pruned_by,
    restrict,
)
from fairseq_lottery.masks import full_mask

SHAPES = small.SHAPES
ANATOMY = Anatomy.of(SHAPES, {"encoder_attention_heads": 2, "decoder_attention_heads": 2})
ENC = "encoder.layers.0"


def weights():
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def applied(parts):
    """Weights with the closed parts at zero."""
    values = weights()
    for name, keep in pruned_by(parts, SHAPES).items():
        values[name][~keep] = 0
    clear_biases(values, parts)
    return values


def test_a_head_is_its_rows_and_columns():
    parts = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    found = pruned_by(parts, SHAPES)
    assert set(found) == {f"{ENC}.self_attn.{p}_proj.weight" for p in ("q", "k", "v", "out")}
    for name, keep in found.items():
        assert int((~keep).sum()) == small.DIM * small.DIM // 2
        closed = keep[:, 2:] if "out_proj" in name else keep[2:]
        assert not closed.any()
    uniform = pruned_by(Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}}, "uniform"), SHAPES)
    assert set(uniform) == {f"{ENC}.self_attn.{p}_proj.weight" for p in ("q", "k")}


def test_a_unit_and_a_block():
    found = pruned_by(Parts(ANATOMY, {"units": {ENC: [0, 5]}}), SHAPES)
    assert set(found) == {f"{ENC}.fc1.weight", f"{ENC}.fc2.weight"}
    assert found[f"{ENC}.fc1.weight"].any(dim=1).tolist() == [False, True, True, True, True, False]
    assert found[f"{ENC}.fc2.weight"].any(dim=0).tolist() == [False, True, True, True, True, False]
    found = pruned_by(Parts(ANATOMY, {"blocks": {ENC: [0]}}), SHAPES)
    assert set(found) == {f"{ENC}.fc1.weight", f"{ENC}.fc2.weight"}
    assert not any(keep.any() for keep in found.values())


def test_biases_of_what_is_closed_are_cleared_and_no_others():
    before, after = (
        weights(),
        applied(Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [0]}, "units": {ENC: [2]}})),
    )
    for name in ("q_proj", "k_proj", "v_proj"):
        assert after[f"{ENC}.self_attn.{name}.bias"][:2].tolist() == [0, 0]
    assert after[f"{ENC}.fc1.bias"].nonzero().flatten().tolist() == [0, 1, 3, 4, 5]
    for name in (f"{ENC}.self_attn.out_proj.bias", "encoder.layers.1.fc1.bias"):
        assert torch.equal(before[name], after[name])


@st.composite
def choices(draw):
    """Heads, units and blocks; of a closed block no units, which are closed with it."""
    sizes = ANATOMY.sizes
    closed = {kind: {} for kind in sizes}
    for kind in ("heads", "units"):
        for name, size in sizes[kind].items():
            # all units closed are a closed block
            numbers = draw(st.sets(st.integers(0, size - 1), max_size=size - (kind == "units")))
            closed[kind][name] = sorted(numbers)
    for name in sizes["blocks"]:
        if draw(st.booleans()):
            closed["blocks"][name], closed["units"][name] = [0], []
    return Parts(ANATOMY, closed, "zero")


@given(choices())
@PROPERTY
def test_what_is_closed_is_found_again_in_weights_and_in_the_mask(parts):
    mask = restrict(full_mask(SHAPES), parts, SHAPES)
    assert closed_in(mask, ANATOMY) == parts
    assert closed_in(applied(parts), ANATOMY) == parts
    expected = sum(int((~keep).sum()) for keep in pruned_by(parts, SHAPES).values())
    assert mask.pruned == expected
    assert mask.prunable == full_mask(SHAPES).prunable


def test_uniform_heads_are_found_again():
    parts = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}}, "uniform")
    assert closed_in(applied(parts), ANATOMY) == parts
    assert closed_in(weights(), ANATOMY) == Parts(ANATOMY, {})
    assert closed_in({}, ANATOMY) == Parts(ANATOMY, {})


def test_a_matrix_that_is_kept_dense_has_no_closed_parts():
    parts = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    with pytest.raises(LotteryError, match="prunable set leaves it dense"):
        restrict(full_mask(SHAPES, "ffn"), parts, SHAPES)
