"""A disk that fills up leaves the last good files, and the training goes on once there is room."""

import pytest
from crash.kinds import PRUNING, SAVING, UPDATES
from disks import small_disk
from toy import Toy, assert_same_training, drawing

from fairseq_lottery.formats import read_checkpoint, read_source
from fairseq_lottery.training.start.checkpoint_repair import is_intact

pytestmark = pytest.mark.slow

#: what fairseq or we say; torch 1.12 and 1.13 abort in the middle of a checkpoint, and say this
FULL = ("No space left on device", "enforce fail at inline_container.cc")
FLAGS = (*SAVING, *PRUNING, "--snapshot-updates", "3,14")


@pytest.fixture(scope="module")
def whole(toy_data, tmp_path_factory, dense):
    """An uninterrupted run, with all the room there is."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("whole"))
    toy.train("run", *drawing(dense, 0.6), *FLAGS, updates=UPDATES).ok()
    return toy.path("run")


@pytest.fixture
def disk(toy, tmp_path):
    """``run`` of the toy is a disk of its own; returns what sets its size in kilobytes."""
    with small_disk(tmp_path / "run") as resize:
        yield resize


def kilobytes(*paths):
    return sum(-(-path.stat().st_size // 4096) * 4 for path in paths)


@pytest.mark.parametrize(
    ("room", "left"),
    [
        # the ticket fits, its first snapshot does not
        ("0.2", {"ticket.safetensors"}),
        # the first checkpoint fits, and half of its copy as the last one
        ("1.5", {"ticket.safetensors", "snapshot_3.safetensors", "checkpoint_1_4.pt"}),
        # the first and its copy, and half of the second
        ("2.5", {"ticket.safetensors", "snapshot_3.safetensors", "checkpoint_1_4.pt",
                 "checkpoint_last.pt"}),
    ],
    ids=["snapshot", "copy", "checkpoint"],
)  # fmt: skip
def test_a_disk_that_fills_up(toy, dense, whole, disk, room, left):
    checkpoint = kilobytes(whole / "checkpoint_last.pt")
    ours = kilobytes(whole / "ticket.safetensors", whole / "snapshot_3.safetensors")
    first = kilobytes(whole / "ticket.safetensors")
    disk(first + 20 if room == "0.2" else ours + int(float(room) * checkpoint))
    flags = (*drawing(dense, 0.6), *FLAGS)
    failed = toy.train("run", *flags, updates=UPDATES)
    assert failed.code != 0 and any(said in failed.out for said in FULL), failed.out[-3000:]
    if room == "0.2":
        assert "snapshot_3.safetensors cannot be written: " in failed.out
    good = {path.name for path in toy.path("run").iterdir() if is_good(path)}
    assert good == left
    for name in left:
        if name.endswith(".safetensors"):
            assert toy.path("run", name).read_bytes() == (whole / name).read_bytes()

    disk(20_000)
    done = toy.train("run", *flags, updates=UPDATES).ok()
    assert ("was corrupted" in done.out) == (room == "1.5")
    states = [read_checkpoint(folder / "checkpoint_last.pt") for folder in (whole, toy.path("run"))]
    assert states[1]["optimizer_history"][-1]["num_updates"] == UPDATES
    assert_same_training(*states)


def is_good(path):
    """Whether a file under a name of its own is whole; temporary names do not count."""
    if path.suffix == ".safetensors" and not path.name.startswith("."):
        read_source(path)  # none is ever half written
        return True
    return path.suffix == ".pt" and is_intact(path)
