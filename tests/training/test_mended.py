"""A training whose last checkpoint was corrupted goes on from the one before."""

import shutil
import signal

import pytest
from toy import assert_same_training, kill_at

pytestmark = pytest.mark.slow

PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 14, "--prune-every", 4)
SAVING = ("--save-interval-updates", 4)


def killed_in_its_copy(toy):
    """``parts``: killed after update 14, in the middle of copying the checkpoint of update 12."""
    killed = toy.train("parts", *PRUNING, *SAVING, prelude=lambda: kill_at(14))
    assert killed.code == -signal.SIGKILL
    last = toy.path("parts", "checkpoint_last.pt")
    with open(last, "rb+") as file:
        file.truncate(last.stat().st_size // 2)
    return last


def test_resumed_from_the_newest_whole_one_equals_uninterrupted(toy):
    toy.train("whole", *PRUNING, *SAVING).ok()
    last = killed_in_its_copy(toy)
    toy.path("parts", "checkpoint_2_12.pt").write_bytes(b"")
    done = toy.train("parts", *PRUNING, *SAVING).ok()
    assert "from checkpoint_1_8.pt, update 8" in done.out
    assert "@ 8 updates" in done.out
    assert last.with_name("checkpoint_last.pt.damaged").exists()
    whole, parts = (toy.load(run, "checkpoint_last.pt") for run in ("whole", "parts"))
    assert whole["optimizer_history"][-1]["num_updates"] == 20
    assert_same_training(whole, parts)


def test_none_whole_is_refused(toy):
    last = killed_in_its_copy(toy)
    for path in last.parent.glob("checkpoint*.pt"):
        if path != last:
            shutil.copy(last, path)
    done = toy.train("parts", *PRUNING, *SAVING)
    assert done.code == 2 and "Traceback" not in done.out
    assert "checkpoint_last.pt is corrupted" in done.out


def test_another_file_to_restore_is_left_to_fairseq(toy):
    last = killed_in_its_copy(toy)
    given = ("--restore-file", toy.path("parts", "checkpoint_2_12.pt"))
    done = toy.train("parts", *PRUNING, *SAVING, *given).ok()
    assert "@ 12 updates" in done.out and not list(last.parent.glob("*.damaged"))
