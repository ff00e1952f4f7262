"""Names and sizes of the components of a Transformer."""

import pytest
from live import FFN, HEADS, anatomy, transformer

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of, type_of

SELF, CROSS = "decoder.layers.11.self_attn", "decoder.layers.0.encoder_attn"


def test_a_transformer_has_its_heads_and_units_in_order():
    found = anatomy(transformer())
    assert list(found.heads) == [
        "encoder.layers.0.self_attn",
        "encoder.layers.1.self_attn",
        "decoder.layers.0.self_attn",
        "decoder.layers.1.self_attn",
        "decoder.layers.0.encoder_attn",
        "decoder.layers.1.encoder_attn",
    ]
    assert set(found.heads.values()) == {HEADS}
    assert list(found.units) == [f"{s}coder.layers.{n}" for s in ("en", "de") for n in (0, 1)]
    assert set(found.units.values()) == {FFN}
    assert found.sizes["blocks"] == dict.fromkeys(found.units, 1)


def test_layers_are_ordered_as_numbers():
    shapes = {f"encoder.layers.{n}.self_attn.out_proj.weight": (8, 8) for n in (10, 2, 0)}
    found = Anatomy.of(shapes, {"encoder_attention_heads": 2})
    assert [layer_of(name) for name in found.heads] == [0, 2, 10]


def test_types():
    assert type_of("encoder.layers.3.self_attn") == "enc_self"
    assert type_of(SELF) == "dec_self" and layer_of(SELF) == 11
    assert type_of(CROSS) == "enc_dec" and layer_of(CROSS) == 0
    assert type_of("encoder.layers.3") == "enc_ffn" and type_of("decoder.layers.3") == "dec_ffn"


def test_an_encoder_alone_has_components_too():
    start = "encoder.sentence_encoder.layers.0"
    shapes = {f"{start}.self_attn.out_proj.weight": (8, 8), f"{start}.fc1.weight": (12, 8)}
    found = Anatomy.of(shapes, {"encoder_attention_heads": 4})
    assert found.heads == {f"{start}.self_attn": 4} and found.units == {start: 12}
    assert found.modules("heads", ("enc_self",)) == [f"{start}.self_attn"]
    assert found.modules("units") == [start]
    for asked, message in (
        (("units", ("dec_ffn",)), "the model has no units of type 'dec_ffn'; it has enc_ffn"),
        (("tails",), "'tails' cannot be pruned; choose one of heads, units, blocks"),
    ):
        with pytest.raises(LotteryError, match=message):
            found.modules(*asked)
    with pytest.raises(LotteryError, match="the model has no units"):
        Anatomy({f"{start}.self_attn": 2}, {}).modules("units")


@pytest.mark.parametrize("heads", [None, 0, 3, True, "4"])
def test_heads_that_do_not_divide_the_width_are_refused(heads):
    shapes = {"encoder.layers.0.self_attn.out_proj.weight": (8, 8)}
    with pytest.raises(LotteryError, match="heads of encoder.layers.0.self_attn is unknown"):
        Anatomy.of(shapes, {"encoder_attention_heads": heads})


def test_a_model_that_heads_were_cut_out_of_is_refused():
    shapes = {"encoder.layers.0.self_attn.out_proj.weight": (8, 4)}
    with pytest.raises(LotteryError, match="heads were cut out of encoder.layers.0.self_attn"):
        Anatomy.of(shapes, {"encoder_attention_heads": 2})


def test_a_model_without_attention_is_refused():
    with pytest.raises(LotteryError, match="no attention heads"):
        Anatomy.of({"encoder.lstm.weight_ih_l0": (4, 4)}, {})
