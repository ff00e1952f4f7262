import json

import pytest
import torch
from small import PRUNABLE, full_mask, save_checkpoint, weights

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.stages.validation import main, read_validation

CFG = {
    "checkpoint": {"best_checkpoint_metric": "loss", "save_dir": "here"},
    "dataset": {"valid_subset": "valid1,valid"},
    "criterion": {"_name": "masked_lm_lottery", "tpu": False},
}


def model(folder, value, mask=None):
    """A model that was saved at a validation of this value."""
    extra = {"train_iterator": {"epoch": 1}, "val_loss": value}
    parameters = weights()
    for name, keep in (mask or {}).items():
        parameters[name] = parameters[name] * keep
    return save_checkpoint(
        folder / "best.pt", parameters, 60, mask=mask, cfg=CFG, extra_state=extra
    )


def test_the_row_of_a_model_has_its_validation(tmp_path):
    path = model(tmp_path, 5.326, full_mask())
    main(["--model", path, "--sparsity", "0", "--out", str(tmp_path)])
    (row,) = map(json.loads, (tmp_path / "scores.jsonl").read_text().splitlines())
    assert row == {
        "metric": "loss", "score": 5.326, "subset": "valid1",
        "signature": "fairseq|metric:loss|criterion:masked_lm",
        "update": 60, "pruned": 0, "prunable": PRUNABLE, "denominator": "all-matrices",
        "signature_of_ticket": None,
    }  # fmt: skip


@pytest.mark.parametrize("criterion", ["masked_lm", "masked_lm_lottery"])
def test_an_adopted_run_shares_the_signature(tmp_path, criterion):
    """The criterion of this package logs more and has the same loss."""
    cfg = {**CFG, "criterion": {"_name": criterion}}
    path = save_checkpoint(tmp_path / "a.pt", weights(), cfg=cfg, extra_state={"val_loss": 5.0})
    assert read_validation(path)["signature"] == "fairseq|metric:loss|criterion:masked_lm"


def test_a_model_of_another_sparsity_has_no_row(tmp_path):
    path = model(tmp_path, 5.326, full_mask())
    with pytest.raises(LotteryError, match="is 0.0000 .*, expected 0.5; "):
        main(["--model", path, "--sparsity", "0.5", "--out", str(tmp_path)])
    assert not (tmp_path / "scores.jsonl").exists()


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "5.0", True, torch.ones(2)])
def test_a_model_without_a_validation_is_refused(tmp_path, value):
    with pytest.raises(LotteryError, match="validation in .*best.pt is .*, expected a f"):
        read_validation(model(tmp_path, value))


def test_a_model_without_notes_is_refused(tmp_path):
    path = save_checkpoint(tmp_path / "best.pt", weights(), cfg=CFG, extra_state=None)
    with pytest.raises(LotteryError, match="validation in .*best.pt is None, expected"):
        read_validation(path)
