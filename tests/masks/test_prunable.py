import pytest
from small import EMBEDDING, MATRICES, SHAPES

from fairseq_lottery.adapters import GROUPS, group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import PAD_ROW, PRUNABLE_SETS, PrunableShare, prunable_matrices

#: a parameter of every kind that fairseq's Transformer has, and its group
KINDS = {
    "encoder.embed_tokens.weight": "embedding",
    "decoder.embed_tokens.weight": "embedding",
    "decoder.output_projection.weight": "output",
    "encoder.lm_head.dense.weight": "classifier",
    "encoder.layers.0.self_attn.q_proj.weight": "enc_self",
    "decoder.layers.11.self_attn.out_proj.weight": "dec_self",
    "decoder.layers.3.encoder_attn.k_proj.weight": "enc_dec",
    "encoder.layers.5.fc1.weight": "enc_ffn",
    "decoder.layers.0.fc2.weight": "dec_ffn",
}
NEVER = {
    "encoder.embed_positions.weight": (1026, 4),  # learned positions
    "encoder.layers.0.self_attn.q_proj.bias": (4,),
    "encoder.layers.0.self_attn_layer_norm.weight": (4,),
    "encoder.layernorm_embedding.weight": (4,),
    "decoder.layer_norm.weight": (4,),
    # copies in the encoder of official 0.12.2
    "encoder.layers.0.fc1_weight": (6, 4),
    "encoder.layers.0.in_proj_weight": (12, 4),
    "encoder.layers.0.out_proj_weight": (4, 4),
}


def names(prunable, keep_dense=None):
    shapes = {**dict.fromkeys(KINDS, (12, 4)), **NEVER}
    return set(prunable_matrices(shapes, prunable, keep_dense))


def test_every_kind_of_matrix_has_its_group():
    assert {name: group_of(name) for name in KINDS} == KINDS
    assert set(KINDS.values()) == set(GROUPS)
    assert {group_of(name) for name in NEVER if "layer_norm" in name or "_weight" in name} == {
        "other"
    }


@pytest.mark.parametrize(
    "prunable, groups",
    [
        ("all-matrices", set(GROUPS)),
        ("no-embeddings", set(GROUPS) - {"embedding", "output"}),
        ("attention", {"enc_self", "dec_self", "enc_dec"}),
        ("ffn", {"enc_ffn", "dec_ffn"}),
        ("layers", {"enc_self", "dec_self", "enc_dec", "enc_ffn", "dec_ffn"}),
    ],
)
def test_named_sets(prunable, groups):
    assert names(prunable) == {name for name, group in KINDS.items() if group in groups}
    assert prunable in PRUNABLE_SETS and len(PRUNABLE_SETS) == 5


def test_only_the_padding_row_of_embeddings_is_protected():
    rows = prunable_matrices(SHAPES)
    assert {name: row for name, row in rows.items() if row is not None} == {EMBEDDING: PAD_ROW}
    assert len(rows) == MATRICES and list(rows) == sorted(rows) and PAD_ROW == 1


@pytest.mark.parametrize(
    "expression, dense",
    [
        ("fc", {"enc_ffn", "dec_ffn"}),
        (r"^decoder\.layers\.(0|3)\.", {"dec_ffn", "enc_dec"}),
        ("output_projection|embed_tokens", {"embedding", "output"}),
    ],
)
def test_an_expression_keeps_matrices_dense(expression, dense):
    kept = {name for name, group in KINDS.items() if group not in dense}
    assert names("all-matrices", expression) == kept


@pytest.mark.parametrize(
    "prunable, keep_dense, sentence",
    [
        ("all", None, "there is no prunable set 'all'; choose one of all-matrices, no-embeddings,"),
        ("all-matrices", "fc3", "'fc3' matches none of the 9 prunable matrices; they are named"),
        ("ffn", "self_attn", "'self_attn' matches none of the 2 prunable matrices"),
        ("all-matrices", "fc(", r"--keep-dense 'fc\(' is not a regular expression"),
        (
            "ffn",
            "fc[12]",
            "the prunable set 'ffn' is empty for this model; choose another --prunab",
        ),
    ],
)
def test_sets_and_expressions_that_leave_nothing_are_refused(prunable, keep_dense, sentence):
    with pytest.raises(LotteryError, match=sentence):
        names(prunable, keep_dense)


def test_a_model_without_matrices_is_refused():
    with pytest.raises(LotteryError, match="the prunable set 'all-matrices' is empty"):
        prunable_matrices(NEVER)


def test_the_share_of_a_model_that_is_prunable():
    half, less = PrunableShare(50, 100), PrunableShare(49, 100)
    assert (half.is_small, less.is_small) == (False, True)
    assert str(less) == (
        "49 of the 100 weights of the model are prunable (49.0 %); a sparsity is a share of these"
    )
