"""Scores as a file and as a grid."""

import json

import pytest
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.score_table import grid, is_scores, load_scores, save_scores

ENC, DEC = "encoder.layers.0", "decoder.layers.1"
ANATOMY = Anatomy({f"{ENC}.self_attn": 2, f"{DEC}.encoder_attn": 3}, {ENC: 4})
SCORES = {
    "heads": {
        f"{ENC}.self_attn": torch.tensor([0.1, 1 / 3], dtype=torch.float64),
        f"{DEC}.encoder_attn": torch.tensor([1e-30, 2.0, -5.0], dtype=torch.float64),
    },
    "blocks": {ENC: torch.tensor([7.0], dtype=torch.float64)},
}


def test_they_come_back_to_the_bit(tmp_path):
    path = tmp_path / "a.json"
    save_scores(path, ANATOMY, SCORES, {"measure": "gradient"})
    anatomy, scores, record = load_scores(path)
    assert anatomy == ANATOMY and record == {"measure": "gradient"} and is_scores(path)
    assert set(scores) == {"heads", "blocks"}
    for kind, modules in SCORES.items():
        assert all(torch.equal(scores[kind][name], v) for name, v in modules.items())


def test_nan_is_not_written(tmp_path):
    bad = {"heads": {f"{ENC}.self_attn": torch.tensor([1.0, float("nan")])}}
    with pytest.raises(LotteryError, match="NaN or infinite"):
        save_scores(tmp_path / "a.json", ANATOMY, bad, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "other"}, "is not a file of scores"),
        ({"heads": [1]}, "is malformed"),
        ({"scores": []}, "is malformed"),
        ({"scores": {"heads": {f"{ENC}.self_attn": [1.0]}}}, "is malformed"),
        ({"scores": {"heads": {f"{ENC}.self_attn": [1.0, "a"]}}}, "is malformed"),
        ({"scores": {"heads": {"encoder.layers.9.self_attn": [1.0]}}}, "is malformed"),
        ({"scores": {"tails": {f"{ENC}.self_attn": [1.0, 2.0]}}}, "is malformed"),
        ({"record": 3}, "is malformed"),
    ],
)
def test_what_is_none_is_refused(tmp_path, change, message):
    path = tmp_path / "a.json"
    save_scores(path, ANATOMY, SCORES, {})
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LotteryError, match=message):
        load_scores(path)
    with pytest.raises(LotteryError, match="cannot be read"):
        load_scores(tmp_path / "none.json")
    assert not is_scores(tmp_path / "none.json")


def test_the_grid_has_a_block_for_each_type():
    assert list(grid(SCORES["heads"])) == [
        "enc_self",
        "    0        0.1    0.3333",
        "enc_dec",
        "    1      1e-30         2        -5",
    ]
    opened = {f"{ENC}.self_attn": torch.tensor([True, False])}
    assert list(grid(opened)) == ["enc_self", "    0  o ."]
