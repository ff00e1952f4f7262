"""Thirds of stacks, and single layers."""

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.languages.layer_groups import layer_groups


def sizes(layers):
    return {
        k: len(v) for k, v in layer_groups(f"encoder.layers.{n}.x" for n in range(layers)).items()
    }


@pytest.mark.parametrize("layers, expected", [
    (1, {"middle": 1}),
    (2, {"bottom": 1, "top": 1}),
    (3, {"bottom": 1, "middle": 1, "top": 1}),
    (4, {"bottom": 1, "middle": 2, "top": 1}),
    (5, {"bottom": 2, "middle": 1, "top": 2}),
    (6, {"bottom": 2, "middle": 2, "top": 2}),
    (12, {"bottom": 4, "middle": 4, "top": 4}),
])  # fmt: skip
def test_a_layer_is_in_the_third_of_its_middle(layers, expected):
    assert sizes(layers) == expected


def test_stacks_are_divided_separately():
    names = [f"encoder.layers.{n}.a" for n in range(6)] + [f"decoder.layers.{n}.b" for n in (0, 1)]
    assert layer_groups(names) == {
        "bottom": ["encoder.layers.0.a", "encoder.layers.1.a", "decoder.layers.0.b"],
        "middle": ["encoder.layers.2.a", "encoder.layers.3.a"],
        "top": ["encoder.layers.4.a", "encoder.layers.5.a", "decoder.layers.1.b"],
    }
    assert list(layer_groups(names, "each")) == [f"layer {n}" for n in range(1, 7)]
    assert layer_groups(names, "each")["layer 2"] == ["encoder.layers.1.a", "decoder.layers.1.b"]
    with pytest.raises(LotteryError, match="--layers 'halves' is unknown; choose thirds or each"):
        layer_groups(names, "halves")
