"""A choice of open parts: what it refuses, and that plain values bring it back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.parts import Parts

ENC, DEC = "encoder.layers.0", "decoder.layers.0"
ANATOMY = Anatomy({f"{ENC}.self_attn": 4, f"{DEC}.encoder_attn": 2}, {ENC: 6, DEC: 3})


@st.composite
def choices(draw, modes=("zero", "uniform")):
    """Any choice of open parts."""
    opened = {
        kind: {
            name: torch.tensor(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
            for name, size in sizes.items()
        }
        for kind, sizes in ANATOMY.sizes.items()
    }
    return Parts.of(ANATOMY, opened, draw(st.sampled_from(modes)))


@given(choices())
@PROPERTY
def test_json_brings_it_back(parts):
    plain = parts.to_json()
    again = Parts(Anatomy(plain["heads"], plain["units"]), plain["closed"], plain["mode"])
    assert again == parts and again.digest() == parts.digest()
    for kind in KINDS:
        assert all(torch.equal(again[kind][name], keep) for name, keep in parts[kind].items())
        assert parts.count_closed(kind) == len(list(parts.closed(kind)))


@given(choices(["zero"]), choices(["zero"]))
@PROPERTY
def test_the_intersection_is_open_where_both_are(a, b):
    both = a.intersection(b)
    for kind in KINDS:
        for name, keep in both[kind].items():
            assert torch.equal(keep, a[kind][name] & b[kind][name])
    assert both == b.intersection(a) and a.intersection(a) == a


def test_counts():
    parts = Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 3]}, "blocks": {DEC: [0]}})
    assert [parts.count(kind) for kind in KINDS] == [6, 9, 2]
    assert [parts.count_closed(kind) for kind in KINDS] == [2, 0, 1]
    assert parts["heads"][f"{ENC}.self_attn"].tolist() == [False, True, True, False]
    assert parts != Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [0, 3]}})


@pytest.mark.parametrize(
    "closed, message",
    [
        ({"tails": {}}, "'tails' cannot be closed"),
        ({"heads": {"encoder.layers.9.self_attn": [0]}}, "the model has no heads in"),
        ({"heads": {f"{ENC}.self_attn": [4]}}, "has heads 0 to 3, and 4 is none"),
        ({"heads": {f"{ENC}.self_attn": [-1]}}, "-1 is none of them"),
        ({"heads": {f"{ENC}.self_attn": [True]}}, "True is none of them"),
        ({"heads": {f"{ENC}.self_attn": ["0"]}}, "'0' is none of them"),
        ({"units": {ENC: [5, 5]}}, "closed twice"),
        ({"blocks": {ENC: [1]}}, "has blocks 0 to 0"),
    ],
)
def test_what_the_model_does_not_have_is_refused(closed, message):
    with pytest.raises(LotteryError, match=message):
        Parts(ANATOMY, closed)


def test_a_part_closes_once():
    start = Parts(ANATOMY, {"units": {ENC: [1]}}, "uniform")
    parts = start.without("heads", [(f"{ENC}.self_attn", 0)])
    assert parts.to_json()["closed"] == {
        "heads": {f"{ENC}.self_attn": [0]}, "units": {ENC: [1]}, "blocks": {},
    }  # fmt: skip
    assert parts.mode == "uniform" and parts.cut_layers == [ENC]
    for number, message in ((0, "closed twice"), (4, "is none of them"), (-1, "is none of them")):
        with pytest.raises(LotteryError, match=message):
            parts.without("heads", [(f"{ENC}.self_attn", number)])


def test_modes_do_not_mix():
    zero, uniform = (
        Parts(ANATOMY, {"heads": {f"{ENC}.self_attn": [1]}}, m) for m in ("zero", "uniform")
    )
    with pytest.raises(LotteryError, match="zero in one choice and the mean in the other"):
        zero.intersection(uniform)
    assert Parts(ANATOMY, {}).intersection(uniform).mode == "uniform"
    with pytest.raises(LotteryError, match="no mode 'mean'"):
        Parts(ANATOMY, {}, "mean")
    with pytest.raises(LotteryError, match="different models"):
        zero.intersection(Parts(Anatomy({f"{ENC}.self_attn": 4}, {}), {}))
