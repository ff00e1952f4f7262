"""Closed components as pruned weights: exactly which, and what is read back from them."""

import pytest
import small
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import (
    clear_biases,
    find_pruned,
    restrict,
    weight_masks,
)
from fairseq_lottery.masks import full_mask

SHAPES = small.SHAPES
ANATOMY = Anatomy.of(SHAPES, {"encoder_attention_heads": 2, "decoder_attention_heads": 2})
ENC = "encoder.layers.0"


def weights():
    generator = torch.Generator().manual_seed(4)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def applied(components):
    """Weights with the pruned components at zero."""
    values = weights()
    for name, keep in weight_masks(components, SHAPES).items():
        values[name][~keep] = 0
    clear_biases(values, components)
    return values


def test_a_head_is_its_rows_and_columns():
    components = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    found = weight_masks(components, SHAPES)
    assert set(found) == {f"{ENC}.self_attn.{p}_proj.weight" for p in ("q", "k", "v", "out")}
    for name, keep in found.items():
        assert int((~keep).sum()) == small.DIM * small.DIM // 2
        pruned = keep[:, 2:] if "out_proj" in name else keep[2:]
        assert not pruned.any()
    uniform = weight_masks(
        ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}}, "uniform"), SHAPES
    )
    assert set(uniform) == {f"{ENC}.self_attn.{p}_proj.weight" for p in ("q", "k")}


def test_a_unit_and_a_block():
    found = weight_masks(ComponentMask(ANATOMY, {"units": {ENC: [0, 5]}}), SHAPES)
    assert set(found) == {f"{ENC}.fc1.weight", f"{ENC}.fc2.weight"}
    assert found[f"{ENC}.fc1.weight"].any(dim=1).tolist() == [False, True, True, True, True, False]
    assert found[f"{ENC}.fc2.weight"].any(dim=0).tolist() == [False, True, True, True, True, False]
    found = weight_masks(ComponentMask(ANATOMY, {"blocks": {ENC: [0]}}), SHAPES)
    assert set(found) == {f"{ENC}.fc1.weight", f"{ENC}.fc2.weight"}
    assert not any(keep.any() for keep in found.values())


def test_biases_of_what_is_pruned_are_cleared_and_no_others():
    before, after = (
        weights(),
        applied(ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [0]}, "units": {ENC: [2]}})),
    )
    for name in ("q_proj", "k_proj", "v_proj"):
        assert after[f"{ENC}.self_attn.{name}.bias"][:2].tolist() == [0, 0]
    assert after[f"{ENC}.fc1.bias"].nonzero().flatten().tolist() == [0, 1, 3, 4, 5]
    for name in (f"{ENC}.self_attn.out_proj.bias", "encoder.layers.1.fc1.bias"):
        assert torch.equal(before[name], after[name])


@st.composite
def choices(draw):
    """Heads, units and blocks; of a pruned block no units, which are pruned with it."""
    sizes = ANATOMY.sizes
    pruned = {kind: {} for kind in sizes}
    for kind in ("heads", "units"):
        for name, size in sizes[kind].items():
            # all units pruned are a pruned block
            numbers = draw(st.sets(st.integers(0, size - 1), max_size=size - (kind == "units")))
            pruned[kind][name] = sorted(numbers)
    for name in sizes["blocks"]:
        if draw(st.booleans()):
            pruned["blocks"][name], pruned["units"][name] = [0], []
    return ComponentMask(ANATOMY, pruned, "zero")


@given(choices())
@PROPERTY
def test_what_is_pruned_is_found_again_in_weights_and_in_the_mask(components):
    mask = restrict(full_mask(SHAPES), components, SHAPES)
    assert find_pruned(mask, ANATOMY) == components
    assert find_pruned(applied(components), ANATOMY) == components
    expected = sum(int((~keep).sum()) for keep in weight_masks(components, SHAPES).values())
    assert mask.pruned == expected
    assert mask.prunable == full_mask(SHAPES).prunable


def test_uniform_heads_are_found_again():
    components = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}}, "uniform")
    assert find_pruned(applied(components), ANATOMY) == components
    assert find_pruned(weights(), ANATOMY) == ComponentMask(ANATOMY, {})
    assert find_pruned({}, ANATOMY) == ComponentMask(ANATOMY, {})


def test_a_matrix_that_is_kept_dense_has_no_pruned_components():
    components = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}})
    with pytest.raises(LotteryError, match="prunable set leaves it dense"):
        restrict(full_mask(SHAPES, "ffn"), components, SHAPES)


@pytest.mark.parametrize(
    "name, shape, rows",
    [
        (f"{ENC}.self_attn.q_proj.weight", (2, 4), "4 rows"),
        (f"{ENC}.self_attn.k_proj.bias", (2,), "4 rows"),
        (f"{ENC}.self_attn.out_proj.weight", (4,), "4 columns"),
    ],
)
def test_a_matrix_without_room_for_its_heads_is_one_sentence(name, shape, rows):
    components = ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [0]}})
    values = {**weights(), name: torch.ones(shape)}
    with pytest.raises(LotteryError, match=rf"{name} has shape .*, expected {rows}$"):
        clear_biases(values, components)
