"""A finished training that is started again stays as it is, to the byte."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fairseq")

from fairseq.dataclass.configs import FairseqConfig
from omegaconf import OmegaConf
from toy import HALF, drawing, half_precision_trains_on_cpu, pretend_cuda, train_two

from fairseq_lottery.training.start.restored_checkpoint import Restored
from fairseq_lottery.training.start.run_end import reached_end

PRUNING = ("--prune-to", 0.8, "--prune-start", 1, "--prune-end", 4, "--prune-every", 1)
#: a learning rate that makes no progress
WORSE = ("--lr", 0.3, "--warmup-updates", 1, "--validate-interval-updates", 2, "--patience", 2)

RESTORED = Restored(
    Path("run/checkpoint_last.pt"), {}, 40, 40, True, False, next_epoch=3, hours=1.5
)


@pytest.mark.parametrize(
    "settings, restored, worse, flag",
    [
        ({}, {}, 0, "--max-update 40"),
        ({"max_update": 41}, {}, 0, None),
        ({"max_update": 30}, {}, 0, "--max-update 30"),
        ({"max_update": 0}, {}, 0, None),
        ({"reset_optimizer": True}, {"update": 0}, 0, None),
        ({}, {"update": 0}, 0, "--max-update 40"),  # saved without the optimizer's state
        ({}, {"is_same_run": False}, 0, None),
        ({"max_update": 0, "max_epoch": 2}, {}, 0, "--max-epoch 2"),
        ({"max_update": 0, "max_epoch": 3}, {}, 0, None),
        ({"max_update": 0, "max_epoch": 2, "reset_dataloader": True}, {}, 0, None),
        ({"max_update": 50, "stop_time_hours": 1.0}, {}, 0, "--stop-time-hours 1"),
        ({"max_update": 50, "stop_time_hours": 2.0}, {}, 0, None),
        ({"max_update": 50, "patience": 3}, {}, 3, "--patience 3"),
        ({"max_update": 50, "patience": 3}, {}, 2, None),
        ({"max_update": 50}, {}, 3, None),
    ],
)
def test_which_end_is_reached(settings, restored, worse, flag):
    training = OmegaConf.structured(FairseqConfig)
    for name, value in {"max_update": 40, **settings}.items():
        part = training.optimization if name in training.optimization else training.checkpoint
        part[name] = value
    assert reached_end(training, replace(RESTORED, **restored), worse) == flag


def files(folder):
    """Name -> content and times of every file."""
    return {p.name: (p.read_bytes(), os.stat(p).st_mtime_ns) for p in folder.iterdir()}


def assert_stays(toy, start, flag, update):
    """Train to the end by ``start``; the same again leaves all files as they are."""
    start()
    before = files(toy.path("run"))
    done = start()
    assert files(toy.path("run")) == before
    finished = toy.path("run", "checkpoint_last.pt")
    line = f"{finished} belongs to a finished training (update {update}, {flag})"
    assert done.out.count(line) == 1
    assert "begin validation" not in done.out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "ticket", "pruning", "fp16"])
def test_the_same_command_again_changes_no_file(toy, dense, kind):
    if kind == "fp16" and not half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    flags = {
        "plain": ("--snapshot-updates", "0,6"),
        "ticket": drawing(dense, 0.5),
        "pruning": (*PRUNING, "--save-interval-updates", 3),
        "fp16": (*HALF, *PRUNING),
    }[kind]

    def start(updates=6):
        return toy.train("run", *flags, updates=updates, prelude=pretend_cuda).ok()

    assert_stays(toy, start, "--max-update 6", 6)
    if kind == "pruning":
        start(updates=8)
        assert toy.load("run", "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 8


@pytest.mark.slow
def test_epochs_and_patience_are_ends_as_well(toy):
    def start():
        return toy.train("run", "--max-epoch", 1, updates=50).ok()

    assert_stays(toy, start, "--max-epoch 1", 10)

    def without_progress():
        return toy.train("run", *WORSE, updates=50).ok()

    without_progress()
    end = toy.load("run", "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert 10 < end < 50
    assert_stays(toy, without_progress, "--patience 2", end)


@pytest.mark.slow
def test_two_processes_change_no_file(toy):
    def start():
        first, second = (done.ok() for done in train_two(toy, "run", *PRUNING, updates=6))
        assert "belongs to a finished training" not in second.out
        return first

    assert_stays(toy, start, "--max-update 6", 6)
