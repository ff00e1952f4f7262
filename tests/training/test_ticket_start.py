"""The checkpoint that starts fairseq's counter for a ticket whose update counter rewinds."""

import errno

import pytest

pytest.importorskip("fairseq")

import torch
from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.training.start import ticket_start


def training(folder, lr_scheduler="inverse_sqrt"):
    cfg = OmegaConf.structured(FairseqConfig)
    OmegaConf.set_struct(cfg, False)
    cfg.optimizer = {"_name": "masked_adam"}
    cfg.criterion = {"_name": "label_smoothed_cross_entropy_lottery"}
    cfg.lr_scheduler = {"_name": lr_scheduler}
    cfg.checkpoint.save_dir = str(folder)
    return cfg


def write(folder, update=5):
    ticket_start.write_prepared(training(folder), torch.nn.Linear(4, 3), update, {})


def test_it_says_how_many_updates_are_done(tmp_path):
    write(tmp_path / "run")
    state = read_checkpoint(tmp_path / "run" / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 5
    assert state["task_state"]["lottery"]["prepared"] is True
    assert "ema" not in state["extra_state"]


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path, monkeypatch):
    write(tmp_path)
    last = tmp_path / "checkpoint_last.pt"
    before = last.read_bytes()

    def full(state, path):
        with open(path, "wb") as file:
            file.write(before[: len(before) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ticket_start.torch, "save", full)
        with pytest.raises(LotteryError, match="checkpoint_last.pt cannot be written: No space"):
            write(tmp_path, update=9)
    assert last.read_bytes() == before
    assert list(tmp_path.iterdir()) == [last]


def test_a_schedule_with_a_state_of_its_own(tmp_path):
    with pytest.raises(LotteryError, match="--lr-scheduler reduce_lr_on_plateau"):
        ticket_start.refuse_rewind(training(tmp_path, lr_scheduler="reduce_lr_on_plateau"), 5)
    ticket_start.refuse_rewind(training(tmp_path), 5)
