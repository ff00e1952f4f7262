"""A training on two processes under a real torchrun: stopped from outside, and started again.

The processes that torchrun starts are forks; tests/slurm stops real ones.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forking import python
from torch.distributed.launcher import LaunchConfig
from toy import PACKAGE, assert_pruned, assert_same_training, train_two

from fairseq_lottery.launch import TORCHRUN_ENVIRONMENT, torchrun_command

pytestmark = pytest.mark.slow

UPDATES = 26
PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 20, "--prune-every", 5,
           "--log-interval", 2)  # fmt: skip


def torchrun(toy, save_dir, interpreter=sys.executable, updates=UPDATES):
    """Start the training; its output goes to a file."""
    log = toy.path(f"{save_dir}.log")
    given = toy.arguments(save_dir, *PRUNING, updates=updates)
    command = [interpreter, *torchrun_command(2, list(map(str, given)))[1:]]
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, cwd=PACKAGE.parent, stdout=output, stderr=output,
            env={**os.environ, **TORCHRUN_ENVIRONMENT, "GLOO_SOCKET_IFNAME": "lo",
                 "PYTHON_EXEC": python()},
        )  # fmt: skip
    return process, log


def finish(started):
    process, log = started
    code = process.wait(timeout=300)
    return code, log.read_text()


def to_torchrun(process, number):
    process.send_signal(number)


def to_all(process, number):
    """As Slurm signals a job; torchrun passes the signal on as well."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    for pid in (*children, process.pid):
        os.kill(int(pid), number)


WAYS = {
    "SIGTERM to all": (signal.SIGTERM, to_all),
    "SIGUSR1 to torchrun": (signal.SIGUSR1, to_torchrun),
}


@pytest.fixture(scope="module")
def whole(toy_data, tmp_path_factory):
    """The same training, uninterrupted."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("whole"))
    for done in train_two(toy, "whole", *PRUNING, updates=UPDATES):
        done.ok()
    return toy.load("whole", "checkpoint_last.pt")


@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_started_again(toy, whole, way):
    number, send = WAYS[way]
    if number == signal.SIGUSR1 and not hasattr(LaunchConfig, "signals_to_handle"):
        pytest.skip("this torchrun passes on SIGTERM only")
    process, log = torchrun(toy, "parts")
    while "num_updates=4," not in log.read_text():
        assert process.poll() is None, log.read_text()[-3000:]
        time.sleep(0.02)
    send(process, number)
    code, out = finish((process, log))
    saved = re.findall(r"saved at update (\d+) after (\w+)", out)
    assert code != 0 and len(saved) == 1, out[-3000:]
    assert saved[0][1] == number.name and 4 <= int(saved[0][0]) < UPDATES
    code, out = finish(torchrun(toy, "parts", python()))
    assert code == 0 and f"@ {saved[0][0]} updates" in out, out[-3000:]
    parts = toy.load("parts", "checkpoint_last.pt")
    assert parts["optimizer_history"][-1]["num_updates"] == UPDATES
    assert_same_training(whole, parts)
    assert_pruned(parts, toy.mask("parts", "checkpoint_last.pt"))


def test_a_refusal_ends_all_processes(toy):
    started = torchrun(toy, "run", python(), updates=10)  # the schedule ends at 20
    code, out = finish(started)
    assert code == 1 and "--prune-end 20 exceeds --max-update 10" in out
    assert "exitcode  : 2" in out
