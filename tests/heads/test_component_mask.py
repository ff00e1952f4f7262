"""A choice of open components: what it refuses, and that plain values bring it back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask

ENC, DEC = "encoder.layers.0", "decoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 4, f"{DEC}.encoder_attn": 2}, {ENC: 6, DEC: 3})


@st.composite
def choices(draw, modes=("zero", "uniform")):
    """Any choice of open components."""
    opened = {
        kind: {
            name: torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            for name, size in sizes.items()
        }
        for kind, sizes in ANATOMY.sizes.items()
    }
    return ComponentMask.of(ANATOMY, opened, draw(st.sampled_from(modes)))


@given(choices())
@PROPERTY
def test_json_brings_it_back(components):
    plain = components.to_json()
    again = ComponentMask(Anatomy(plain["heads"], plain["units"]), plain["closed"], plain["mode"])
    assert again == components and again.digest() == components.digest()
    for kind in KINDS:
        assert all(torch.equal(again[kind][name], keep) for name, keep in components[kind].items())
        assert components.count_pruned(kind) == len(list(components.pruned(kind)))


def test_counts():
    components = ComponentMask(
        ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 3]}, "blocks": {DEC: [0]}}
    )
    assert [components.count(kind) for kind in KINDS] == [6, 9, 2]
    assert [components.count_pruned(kind) for kind in KINDS] == [2, 0, 1]
    assert components["heads"][f"{ENC}.self_attn"].tolist() == [False, True, True, False]
    assert components != ComponentMask(ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 3]}})


@pytest.mark.parametrize(
    "pruned, message",
    [
        ({"tails": {}}, "'tails' cannot be pruned"),
        ({"heads": {"encoder.layers.9.self_attn": [0]}}, "the model has no heads in"),
        (
            {"heads": {f"{ENC}.self_attn": [4]}},
            "heads 4 of encoder.layers.0.self_attn is out of range .0 to 3.",
        ),
        ({"heads": {f"{ENC}.self_attn": [-1]}}, "heads -1 of encoder.layers.0.self_attn"),
        ({"heads": {f"{ENC}.self_attn": [True]}}, "heads True of encoder.layers.0.self_attn"),
        ({"heads": {f"{ENC}.self_attn": ["0"]}}, "heads '0' of encoder.layers.0.self_attn"),
        ({"units": {ENC: [5, 5]}}, "listed twice"),
        ({"blocks": {ENC: [1]}}, "blocks 1 of encoder.layers.0 is out of range .0 to 0."),
    ],
)
def test_what_the_model_does_not_have_is_refused(pruned, message):
    with pytest.raises(LotteryError, match=message):
        ComponentMask(ANATOMY, pruned)


def test_a_component_prunes_once():
    start = ComponentMask(ANATOMY, {"units": {ENC: [1]}}, "uniform")
    components = start.without("heads", [(f"{ENC}.self_attn", 0)])
    assert components.to_json()["closed"] == {
        "heads": {f"{ENC}.self_attn": [0]}, "units": {ENC: [1]}, "blocks": {},
    }  # fmt: skip
    assert components.mode == "uniform" and components.layers_with_pruned_ffn == [ENC]
    for number, message in ((0, "listed twice"), (4, "is out of range"), (-1, "is out of range")):
        with pytest.raises(LotteryError, match=message):
            components.without("heads", [(f"{ENC}.self_attn", number)])


def test_unknown_modes():
    with pytest.raises(LotteryError, match="mode 'mean' of pruned heads is unknown"):
        ComponentMask(ANATOMY, {}, "mean")
