"""Reservations by processes of their own; no GPU is there or asked for."""

import os
import select
import signal
import subprocess
import sys

import pytest

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.stages.gpus import reserve_gpus

HOLD = """
import sys
from fairseq_lottery.workflow.stages import gpus
gpus.time.sleep = lambda seconds, sleep=gpus.time.sleep: sleep(0.02)
with gpus.reserve_gpus(int(sys.argv[1])) as (shown, held):
    print(shown["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hold(tmp_path, monkeypatch):
    """Starts a process that reserves GPUs in an empty folder until it is told to end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    started = []

    def start(count):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def shown(process):
    """The GPUs that a process has; waits until it has them, but not for ever."""
    waiting = select.poll()  # select itself takes no number above 1,023
    waiting.register(process.stdout, select.POLLIN)
    assert waiting.poll(30_000), "it still waits for GPUs"
    return process.stdout.readline().strip().split(",")


def test_stages_side_by_side_have_gpus_of_their_own(hold):
    processes = [hold(1) for _ in range(4)]
    assert sorted(name for process in processes for name in shown(process)) == ["0", "1", "2", "3"]


def test_who_comes_late_waits_for_enough(hold):
    first, second = hold(2), hold(1)
    taken = shown(first) + shown(second)
    assert len(set(taken)) == 3
    third = hold(3)  # one is free, and one more once the second ends: not enough
    second.communicate("\n")
    assert third.poll() is None
    first.communicate("\n")
    assert shown(third) == ["0", "1", "2"]


def test_a_killed_stage_gives_its_gpus_back(hold):
    first = hold(4)
    assert shown(first) == ["0", "1", "2", "3"]
    second = hold(4)
    first.send_signal(signal.SIGKILL)
    assert shown(second) == ["0", "1", "2", "3"]


def test_what_is_reserved_is_given_back(hold):
    for _ in range(2):
        with reserve_gpus(3) as (environment, _):
            assert environment == {"CUDA_VISIBLE_DEVICES": "0,1,2"}
            with reserve_gpus(1) as (rest, _):
                assert rest == {"CUDA_VISIBLE_DEVICES": "3"}


def test_names_as_cuda_gives_them(hold, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", " 5, GPU-8a56, ")
    with reserve_gpus(2) as (environment, _):
        assert environment == {"CUDA_VISIBLE_DEVICES": "5,GPU-8a56"}


def test_more_than_there_are_is_refused_at_once(hold, monkeypatch):
    message = "^5 GPUs are required and 4 exist; change gpus"
    with pytest.raises(LotteryError, match=message), reserve_gpus(5):
        pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(LotteryError, match="^1 GPUs are required and 0 exist"), reserve_gpus(1):
        pass


def test_none_wanted_and_none_reserved(hold, tmp_path):
    with reserve_gpus(0) as (environment, held):
        assert (environment, held) == ({}, [])
    assert list(tmp_path.iterdir()) == []
