"""Trainings that are killed at random places and go on as if nothing had happened.

``LOTTERY_KILLS=50 pytest tests/crash`` is the long form; each kill is one test. The short form
kills in each way once.
"""

import os
import random
import shutil
import signal

import pytest
from crash.killing import after_seconds, at_update, in_checkpoint, in_copy, in_our_file
from crash.kinds import KINDS, UPDATES, train
from toy import Toy, assert_same_training, half_precision_trains_on_cpu, same

from fairseq_lottery.formats import read_checkpoint, untie
from fairseq_lottery.tickets.folder_check import check_folder

pytestmark = pytest.mark.slow

WAYS = ("update", "seconds", "checkpoint", "copy", "ours")
KILLS = int(os.environ.get("LOTTERY_KILLS", len(WAYS)))


@pytest.fixture(scope="session")
def whole(toy_data, tmp_path_factory, dense):
    """Returns the uninterrupted run of a kind; trained once in each of pytest's processes."""
    toy = Toy(toy_data, tmp_path_factory.mktemp("whole"))
    trained = {}

    def of(name):
        if name not in trained:
            save_dir = str(len(trained))
            train(toy, KINDS[name], save_dir, dense).ok()
            trained[name] = toy.path(save_dir)
        return trained[name]

    return of


def place(way, chance, kind, whole):
    """Where to kill, and in words; every update and every byte of a file can be it."""
    size = (whole / "checkpoint_last.pt").stat().st_size
    copies = 2 * (UPDATES // 4)  # to the best and to the last
    if way == "update":
        update = chance.randrange(1, UPDATES)
        return at_update(update), f"after update {update}"
    if way == "seconds":
        seconds = chance.uniform(0, 1.5)
        return after_seconds(seconds), f"{seconds:.2f} s after the first update"
    if way == "checkpoint":
        number, bytes_ = chance.randint(1, UPDATES // 4), chance.randrange(1, size // 2)
        return in_checkpoint(number, bytes_), f"in checkpoint {number} after {bytes_} bytes"
    if way == "copy":
        number, bytes_ = chance.randint(1, copies // 2), chance.randrange(size // 2)
        return in_copy(number, bytes_), f"in copy {number} of a checkpoint after {bytes_} bytes"
    number, share = chance.randint(1, kind.our_files), chance.choice([0, chance.random(), 1])
    return in_our_file(number, share), f"in ticket or snapshot {number} after {share:.0%} of it"


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_resumed_equals_uninterrupted(seed, whole, toy, dense):
    chance = random.Random(seed)
    name = list(KINDS)[seed % len(KINDS)]
    kind = KINDS[name]
    if kind.half and not half_precision_trains_on_cpu():
        pytest.skip("this torch has no half-precision dropout on a CPU")
    expected = whole(name)
    way = WAYS[seed] if seed < len(WAYS) else chance.choice(WAYS)
    dies, where = place(way, chance, kind, expected)
    rank = 0 if "update" not in where else chance.randrange(kind.processes)
    killed = train(toy, kind, "run", dense, dies, rank)
    print(f"{name}: killed {where}, rank {rank}, exit code {killed.code}")
    if not (killed.code == 0 and "first update" in where):  # a clock may strike after the end
        assert killed.code == -signal.SIGKILL
        train(toy, kind, "run", dense).ok()
    compare(expected, toy.path("run"))


def compare(expected, run):
    """Weights, optimizer, masters, masks and snapshots to the bit; nothing else left behind."""
    states = [read_checkpoint(folder / "checkpoint_last.pt") for folder in (expected, run)]
    assert states[0]["optimizer_history"][-1]["num_updates"] == UPDATES
    assert_same_training(*states)
    best = [read_checkpoint(folder / "checkpoint_best.pt")["model"] for folder in (expected, run)]
    if "ema" in states[0]["extra_state"]:
        assert same(*(untie(state["extra_state"]["ema"]) for state in states))
    assert same(*map(untie, best))  # without the untrained copies that 0.12.2 carries
    ours = sorted(path.name for path in expected.glob("*.safetensors"))
    assert ours == sorted(path.name for path in run.glob("*.safetensors"))
    for file in ours:
        assert (expected / file).read_bytes() == (run / file).read_bytes(), file
    assert [one.problems for one in check_folder(run) if one.problems] == []
    shutil.rmtree(run)
