"""Density of single heads under masks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import DIM, SHAPES, Run, optimizer_state, save_checkpoint

from fairseq_lottery.analysis.measures.head_density import head_densities
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import find_measure
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import save_ticket
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.choice_file import save_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.tickets import draw

HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
CONFIG = {"model": {"arch": "transformer", **HEADS}, "task": {}}
MODULE = "encoder.layers.0.self_attn"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    save_checkpoint(
        made.last, made.trained, cfg=CONFIG, last_optimizer_state=optimizer_state(made.trained)
    )
    return made


def rows_of(path):
    rows = find_measure("head-density").rows(ModelFile.open(path))
    return {(r["part"], r["layer"], r["head"], r["matrix"]): r["value"] for r in rows}


def test_rows_of_queries_and_columns_of_the_output_by_hand():
    """Two heads of two: head 1 has lost its queries' rows, head 2 one column of the output."""
    mask = {f"{MODULE}.{name}.weight": torch.ones(4, 4, dtype=torch.bool) for name in PROJECTIONS}
    mask[f"{MODULE}.q_proj.weight"][:2] = False
    mask[f"{MODULE}.out_proj.weight"][:, 3] = False
    found = {matrix: values for _, matrix, values in head_densities(mask, {MODULE: 2})}
    assert found == {
        "q_proj": [0.0, 1.0], "k_proj": [1.0, 1.0], "v_proj": [1.0, 1.0], "out_proj": [1.0, 0.5],
        "all": [24 / 32, 28 / 32],
    }  # fmt: skip


def test_columns_of_queries_are_another_count():
    """The published code counts columns of the query matrix, which belong to no head."""
    mask = {f"{MODULE}.q_proj.weight": torch.ones(4, 4, dtype=torch.bool)}
    mask[f"{MODULE}.q_proj.weight"][:, :2] = False
    ((_, _, values), everything) = head_densities(mask, {MODULE: 2})
    assert values == [0.5, 0.5] == everything[2]
    assert list(head_densities({}, {MODULE: 2})) == []


@pytest.mark.parametrize("sparsity", [0.2, 0.7])
def test_against_a_plain_loop(run, tmp_path, sparsity):
    ticket = draw(replace(run.plan, sparsity=sparsity, scope="global"))
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, ticket)
    found = rows_of(path)
    width, expected = DIM // 2, {}
    for name, kept in ticket.mask.items():
        words = name.split(".")
        if words[-2] not in PROJECTIONS:
            continue
        part = "enc_dec" if words[3] == "encoder_attn" else f"{words[0][:3]}_self"
        matrix = np.array(kept)
        if words[-2] == "out_proj":
            matrix = matrix.T
        for head in range(2):
            block = matrix[head * width : (head + 1) * width]
            expected[part, int(words[2]) + 1, head + 1, words[-2]] = block.mean()
    for part, layer, head, _ in list(expected):
        of_head = [expected[part, layer, head, name] for name in PROJECTIONS]
        expected[part, layer, head, "all"] = np.mean(of_head)  # matrices of one size
    assert found.keys() == expected.keys() and len(found) == 6 * 2 * 5
    assert found == pytest.approx(expected)


def test_a_pruned_head_has_no_weight(run, tmp_path):
    closed = {"heads": {"decoder.layers.1.encoder_attn": [1], MODULE: [0]}}
    choice = tmp_path / "choice.json"
    save_choice(choice, ComponentMask(Anatomy.of(SHAPES, HEADS), closed), {})
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, draw(replace(run.plan, sparsity=None, components=str(choice))))
    found = rows_of(path)
    zero = {key[:3] for key, value in found.items() if value == 0}
    assert zero == {("enc_self", 1, 1), ("enc_dec", 2, 2)}
    assert all(value == 1 for key, value in found.items() if key[:3] not in zero)


def test_only_prunable_matrices_count(run, tmp_path):
    path = tmp_path / "ticket.safetensors"
    save_ticket(path, draw(replace(run.plan, sparsity=0.5, keep_dense="[qk]_proj")))
    assert {key[3] for key in rows_of(path)} == {"v_proj", "out_proj", "all"}
    save_ticket(path, draw(replace(run.plan, sparsity=0.5, prunable="ffn")), overwrite=True)
    assert rows_of(path) == {}


def test_a_dense_model_is_refused(run):
    with pytest.raises(LotteryError, match="is dense, so its heads have no density"):
        rows_of(run.last)
