"""Every process of a training finds its place, from what torchrun and srun really set."""

import os
import signal
import subprocess
import sys
import time

import pytest
from toy import PACKAGE

from fairseq_lottery import launch
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.launch import Place, find_place, flags

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu1",
    "MASTER_PORT": "29500",
}  # fmt: skip
#: of a job of 4 tasks on gpu[07-08], which itself is part of a larger allocation
SRUN = {
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "812",
    "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURM_JOB_NODELIST": "gpu[05-08]",
    "SLURM_NTASKS": "8",
}  # fmt: skip
SCONTROL = """#!/bin/sh
test "$*" = "show hostnames gpu[07-08]" && printf 'gpu07\\ngpu08\\n'
"""


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A scontrol that knows one list of nodes."""
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def test_torchrun_gives_the_place():
    assert find_place(TORCHRUN) == Place(3, 4, 1, "gpu1", 29500)


def test_srun_gives_the_place_within_the_step(scontrol):
    assert find_place(SRUN) == Place(3, 4, 1, "gpu07", 10_000 + 812 * 101 % 20_000 + 2)


def test_torchrun_inside_a_slurm_job_is_what_counts():
    assert find_place({**SRUN, **TORCHRUN}).address == "gpu1"


def test_what_the_job_exports_goes_before_what_is_derived():
    place = find_place({**SRUN, "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "4000"})
    assert (place.address, place.port) == ("10.0.0.7", 4000)


def test_two_steps_of_a_job_have_two_ports(scontrol):
    ports = {find_place({**SRUN, "SLURM_STEP_ID": str(n)}).port for n in range(100)}
    assert len(ports) == 100
    assert all(10_000 <= port < 30_000 for port in ports)


@pytest.mark.parametrize(
    "environment",
    [{}, {**TORCHRUN, "WORLD_SIZE": "1"}, {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
     {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}],
)  # fmt: skip
def test_a_process_alone_gets_no_flags(environment):
    assert flags(find_place(environment), ["data"], gpus=8) == []


REFUSED = {
    "no srun": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, "put srun in front"),
    "half of torchrun": ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK is not set"),
    "no scontrol": ({**SRUN, "SLURM_STEP_NODELIST": "?"}, "export MASTER_ADDR"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_half_a_place_is_refused(case, scontrol):
    environment, sentence = REFUSED[case]
    with pytest.raises(LotteryError, match=sentence):
        find_place(environment)


ON_CPU = [
    "--distributed-world-size", "4", "--distributed-rank", "3", "--distributed-init-method",
    "env://", "--distributed-no-spawn", "--device-id", "0", "--distributed-backend", "gloo",
    "--ddp-backend", "legacy_ddp",
]  # fmt: skip


def test_flags_on_a_machine_without_gpus():
    assert flags(find_place(TORCHRUN), ["data"], gpus=0) == ON_CPU


def test_on_a_cpu_the_users_backends_stay():
    given = ["data", "--ddp-backend=no_c10d", "--distributed-backend", "mpi"]
    assert flags(find_place(TORCHRUN), given, gpus=0) == ON_CPU[:-4]


def test_the_users_cpu_uses_no_gpu():
    assert flags(find_place(TORCHRUN), ["data", "--cpu"], gpus=2) == ON_CPU


def test_flags_on_gpus():
    added = flags(find_place(TORCHRUN), ["data"], gpus=2)
    assert added == [*ON_CPU[:7], "--device-id", "1"]


def test_fewer_gpus_than_processes_are_refused():
    with pytest.raises(LotteryError, match="process 2 of this machine has no GPU .*1"):
        flags(find_place(TORCHRUN), ["data"], gpus=1)


def test_slurm_may_show_every_process_its_own_gpu_only(scontrol):
    place = find_place({**SRUN, "SLURM_GPUS_PER_TASK": "1"})
    assert flags(place, ["data"], gpus=1)[-2:] == ["--device-id", "0"]
    assert flags(place, ["data"], gpus=2)[-2:] == ["--device-id", "1"]


def launched(*arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "fairseq_lottery.launch", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PACKAGE.parent,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_a_refusal_is_one_sentence_and_exit_code_2():
    process = launched(SLURM_NTASKS="2")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("fairseq-lottery: the Slurm job has 2 tasks") and error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_before_the_training_ends_it_as_stopped(number, tmp_path):
    """Also one that was ignored when the process was started, as under torchrun."""
    fifo = tmp_path / "scontrol"
    fifo.write_text(f"#!/bin/sh\ntouch {tmp_path}/reached\nexec sleep 60\n")
    fifo.chmod(0o755)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = launched(**SRUN, PATH=f"{tmp_path}:{os.environ['PATH']}")
    finally:
        signal.signal(number, before)
    while not (tmp_path / "reached").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == launch.STOPPED == 75
    assert error == f"fairseq-lottery: stopped by {number.name}\n"
