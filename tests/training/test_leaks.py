"""A checkpoint with weights where its mask prunes is exported in no form."""

import pytest
import torch
from small import Run, optimizer_state, save_checkpoint, weights

pytest.importorskip("fairseq")

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.checkpoint_forms import export
from fairseq_lottery.export.ctranslate2_model import deploy
from fairseq_lottery.formats import read_checkpoint, read_source

FC1 = "encoder.layers.0.fc1.weight"
CFG = {
    "model": {"_name": "transformer", "arch": "transformer"},
    "task": {"_name": "translation_lottery"},
    "common": {"fp16": True},
    "optimizer": {"_name": "masked_adam"},
    "criterion": {"_name": "label_smoothed_cross_entropy_lottery"},
}


@pytest.fixture
def save(tmp_path):
    """Writes a run in half precision, with one entry too many in ``leak``."""
    mask = Run(tmp_path).draw().mask

    def saved(leak=None):
        groups = {group: weights() for group in ("weights", "masters")}
        for group, values in groups.items():
            for name, keep in mask.items():
                values[name][~keep] = 0
            if group == leak:
                values[FC1][tuple((~mask[FC1]).nonzero()[-1])] = 1.0
        state = optimizer_state(groups["masters"])
        state["lottery"]["masters"] = groups["masters"]
        path = tmp_path / "run.pt"
        save_checkpoint(
            path, groups["weights"], mask=mask, last_optimizer_state=state, cfg=CFG
        )
        return path

    return saved


@pytest.mark.parametrize("leak", ["weights", "masters"])
@pytest.mark.parametrize("to", ["dense", "compact", "slim", "ctranslate2"])
def test_no_form(save, tmp_path, to, leak):
    path = save(leak)
    out = tmp_path / ("out.safetensors" if to == "compact" else "out.pt")
    said = f"run.pt: 1 pruned entries of {FC1} are not zero in its {leak}"
    with pytest.raises(LotteryError, match=said):
        deploy(path, out) if to == "ctranslate2" else export(path, out, to)
    assert not out.exists()


def test_a_run_as_training_leaves_it(save, tmp_path):
    path = save()
    export(path, tmp_path / "dense.pt")
    export(path, tmp_path / "compact.safetensors", "compact")
    mask, exported = read_source(path).mask, read_checkpoint(tmp_path / "dense.pt")["model"]
    assert read_source(tmp_path / "compact.safetensors").mask == mask
    assert all(not exported[name][~keep].any() for name, keep in mask.items())
    assert torch.equal(exported[FC1], weights()[FC1] * mask[FC1])
