"""What the adapter of masked_lm says of a RoBERTa: groups, ties, padding, sizes, layers."""

import pytest
import torch
from small import weights

from fairseq_lottery.adapters import MASKED_LM, TRANSLATION, group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import is_parameter, untie
from fairseq_lottery.heads.components.anatomy import Anatomy, type_of
from fairseq_lottery.masks import PAD_ROW, Mask, full_mask
from fairseq_lottery.tickets import RESETS, ResetInput

STACK = "encoder.sentence_encoder"
TABLE = f"{STACK}.embed_tokens.weight"
GROUPS = {
    TABLE: "embedding",
    "encoder.lm_head.weight": "output",
    "encoder.lm_head.dense.weight": "classifier",
    "classification_heads.mnli.out_proj.weight": "classifier",
    f"{STACK}.layers.0.self_attn.q_proj.weight": "enc_self",
    f"{STACK}.layers.1.self_attn.out_proj.weight": "enc_self",
    f"{STACK}.layers.0.fc1.weight": "enc_ffn",
    f"{STACK}.layers.1.fc2.weight": "enc_ffn",
    f"{STACK}.embed_positions.weight": "other",
    "encoder.lm_head.bias": "other",
    "encoder.lm_head.layer_norm.weight": "other",
}


def roberta(layers=2, seed=1):
    """The weights of a RoBERTa of 2 heads and 6 FFN units, its output tied."""
    torch.manual_seed(seed)
    shapes = {TABLE: (12, 4), f"{STACK}.embed_positions.weight": (10, 4)}
    for layer in range(layers):
        for part in "qkv":
            shapes[f"{STACK}.layers.{layer}.self_attn.{part}_proj.weight"] = (4, 4)
        shapes[f"{STACK}.layers.{layer}.self_attn.out_proj.weight"] = (4, 4)
        shapes[f"{STACK}.layers.{layer}.fc1.weight"] = (6, 4)
        shapes[f"{STACK}.layers.{layer}.fc2.weight"] = (4, 6)
    shapes["encoder.lm_head.dense.weight"] = (4, 4)
    shapes["encoder.lm_head.bias"] = (12,)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def shapes_of(values):
    return {name: tuple(value.shape) for name, value in values.items()}


def test_every_parameter_has_its_group():
    assert {name: group_of(name) for name in GROUPS} == GROUPS


def test_the_tied_output_is_one_tensor_and_the_padding_row_is_protected():
    values = roberta()
    state = {**values, "encoder.lm_head.weight": values[TABLE].clone()}
    found, ties = untie(state)
    assert ties == {"encoder.lm_head.weight": TABLE} and set(found) == set(values)
    assert full_mask(shapes_of(found)).protected == {TABLE: PAD_ROW}
    state["encoder.lm_head.weight"] += 1
    found, ties = untie(state)
    assert not ties and full_mask(shapes_of(found)).protected == {TABLE: PAD_ROW}


@pytest.mark.parametrize(
    ("prunable", "count"),
    [("all-matrices", 14), ("no-embeddings", 13), ("attention", 8), ("ffn", 4)],
)
def test_prunable_sets(prunable, count):
    mask = full_mask(shapes_of(roberta()), prunable)
    assert len(mask) == count and "encoder.lm_head.bias" not in mask


def test_copies_of_weights_in_0_12_2_are_no_parameters():
    assert not is_parameter(f"{STACK}.layers.0.in_proj_weight")
    assert not is_parameter(f"{STACK}.layers.11.fc2_bias")
    assert is_parameter(f"{STACK}.layers.0.fc1.weight")


def test_heads_and_units_are_found():
    found = Anatomy.of(shapes_of(roberta()), {"encoder_attention_heads": 2})
    assert found.heads == {f"{STACK}.layers.{n}.self_attn": 2 for n in (0, 1)}
    assert found.units == {f"{STACK}.layers.{n}": 6 for n in (0, 1)}
    assert {type_of(name) for name in found.heads} == {"enc_self"}


def test_layers_are_shuffled_within_their_stack():
    start = roberta(layers=5)
    mask = full_mask(shapes_of(start))
    found = RESETS["shuffle-layers"](ResetInput(mask, start, start, seed=3))
    order = []
    for layer in range(5):
        name = f"{STACK}.layers.{layer}.fc1.weight"
        (source,) = (
            n for n in range(5) if found[name].equal(start[f"{STACK}.layers.{n}.fc1.weight"])
        )
        order.append(source)
        attention = f"{STACK}.layers.{{}}.self_attn.k_proj.weight"
        assert found[attention.format(layer)].equal(start[attention.format(source)])
    assert sorted(order) == list(range(5)) != order
    assert found[TABLE].equal(start[TABLE])


SETTINGS = {
    "encoder_layers": 2,
    "encoder_embed_dim": 4,
    "encoder_ffn_embed_dim": 6,
    "encoder_attention_heads": 2,
    "max_positions": 8,
}


@pytest.mark.parametrize(
    "change",
    [
        {"max_positions": 11},
        {"max_source_positions": 10**9},
        {"tokens_per_sample": 10**9},
        {"encoder_layers": 3},
        {"encoder_embed_dim": 5},
        {"encoder_ffn_embed_dim": 7},
        {"encoder_attention_heads": 0},
    ],
)
def test_settings_of_a_larger_model_than_the_weights_are_refused(change):
    sizes = pytest.importorskip("fairseq_lottery.inference.size_check")
    sizes.refuse_other_sizes(roberta(), SETTINGS, MASKED_LM, "m.pt")
    ((key, _),) = change.items()
    with pytest.raises(LotteryError, match=f"the architecture of m.pt has {key} "):
        sizes.refuse_other_sizes(roberta(), {**SETTINGS, **change}, MASKED_LM, "m.pt")


def test_refusals_name_the_task():
    TRANSLATION.refuse_unless_translating("m.pt", "--to slim")
    with pytest.raises(LotteryError, match="--to slim requires .* the task of m.pt is masked_lm"):
        MASKED_LM.refuse_unless_translating("m.pt", "--to slim")


def test_a_mask_of_translation_is_as_it_was():
    mask = full_mask(shapes_of(weights()))
    assert isinstance(mask, Mask) and set(mask.protected) == {"encoder.embed_tokens.weight"}
