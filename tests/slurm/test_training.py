"""Trainings as jobs of a real Slurm: two tasks, stopped by it, submitted again."""

import re
import shlex
import sys
import time

import pytest
from forking import python
from toy import PACKAGE, assert_pruned, assert_same_training, train_two

pytestmark = pytest.mark.slow

UPDATES = 26
PRUNING = ("--prune-to", 0.8, "--prune-start", 2, "--prune-end", 20, "--prune-every", 5,
           "--log-interval", 2)  # fmt: skip


def write_script(toy, interpreter):
    """A job script that trains on two tasks, in ``parts``."""
    command = [interpreter, "-m", "fairseq_lottery.launch"]
    command += toy.arguments("parts", *PRUNING, "--num-workers", 1, updates=UPDATES)
    script = toy.path("parts.sh")
    script.write_text(
        f"""#!/bin/sh
#SBATCH --ntasks=2
export PYTHONPATH={PACKAGE.parent} GLOO_SOCKET_IFNAME=lo OMP_NUM_THREADS=1
exec srun --kill-on-bad-exit=1 {shlex.join(map(str, command))}
"""
    )
    return script


def log_of(script, job):
    path = script.with_name(f"{script.name}.{job}.log")
    return path.read_text() if path.exists() else ""


def test_a_job_runs(slurm, tmp_path):
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho $SLURM_JOB_ID in $PWD\nexit 7\n")
    job = slurm.submit(script, f"--chdir={tmp_path}")
    shown = slurm.wait(job)
    assert (shown["JobState"], shown["ExitCode"]) == ("FAILED", "7:0")
    assert log_of(script, job) == f"{job} in {tmp_path}\n"


@pytest.fixture(scope="module")
def whole(slurm, toy_data, tmp_path_factory):
    """The same training, uninterrupted and without Slurm."""
    from toy import Toy

    toy = Toy(toy_data, tmp_path_factory.mktemp("whole"))
    for done in train_two(toy, "whole", *PRUNING, updates=UPDATES):
        done.ok()
    return toy.load("whole", "checkpoint_last.pt")


#: flags of scancel, its signal, the state of the job, and the Python of the tasks
WAYS = {
    "scancel --signal=USR1": (("--signal=USR1",), "SIGUSR1", "FAILED", python),
    "scancel": ((), "SIGTERM", "CANCELLED", lambda: sys.executable),
}


@pytest.mark.parametrize("way", WAYS)
def test_stopped_and_submitted_again(slurm, toy, whole, way):
    flags, name, state, interpreter = WAYS[way]
    script = write_script(toy, interpreter())
    job = slurm.submit(script)
    while "num_updates=4," not in log_of(script, job):
        assert slurm.show(job)["JobState"] in ("PENDING", "RUNNING"), log_of(script, job)[-3000:]
        time.sleep(0.05)
    slurm.run("scancel", *flags, job)
    shown = slurm.wait(job)
    out = log_of(script, job)
    saved = re.findall(r"saved at update (\d+) after (\w+)", out)
    assert len(saved) == 1 and saved[0][1] == name, out[-3000:]
    assert 4 <= int(saved[0][0]) < UPDATES
    assert (shown["JobState"], shown["ExitCode"]) == (state, "75:0")
    job = slurm.submit(write_script(toy, python()))
    assert slurm.wait(job)["JobState"] == "COMPLETED", log_of(script, job)[-3000:]
    assert f"@ {saved[0][0]} updates" in log_of(script, job)
    parts = toy.load("parts", "checkpoint_last.pt")
    assert parts["optimizer_history"][-1]["num_updates"] == UPDATES
    assert_same_training(whole, parts)
    assert_pruned(parts, toy.mask("parts", "checkpoint_last.pt"))
