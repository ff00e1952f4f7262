"""A whole workflow on a real Slurm: trainings of two tasks, one of them cancelled."""

import json
import re
import shutil
import subprocess

import pytest
from whole import ROOT, command, configure, folder_of, scores, wait_for

pytest.importorskip("snakemake_executor_plugin_slurm")

pytestmark = pytest.mark.slow

# without accounting Snakemake asks squeue, and soon
ENGINE = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
          "--slurm-no-account", "--seconds-between-status-checks", "1"]  # fmt: skip


def read(log):
    return log.read_text() if log.exists() else ""


def test_a_cancelled_training_goes_on(slurm, toy_data, tmp_path):
    # Snakemake's jobs do not inherit where a Slurm is configured that is not the machine's own
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    conf = slurm.environment["SLURM_CONF"]
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    configuration = configure(
        tmp_path,
        toy_data,
        techniques=["one-shot"],
        updates=100,
        resources={"gpus": 0, "processes": 2, "train": {"runtime": 10}, "other": {"runtime": 10}},
        engine=ENGINE,
    )
    environment = {**slurm.environment, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    environment["PATH"] = f"{srun.parent}:{environment['PATH']}"
    out = tmp_path / "runs"
    log = out / folder_of(configuration, "dense@0#1") / "train.log"
    with open(tmp_path / "driver.log", "w") as said:
        driver = subprocess.Popen(
            command(configuration, "--executor", "slurm", "--jobs", 2),
            env=environment, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
    wait_for(lambda: driver.poll() is not None or "@ 10 updates" in read(log))
    running = slurm.run("squeue", "--noheader", "--states=RUNNING", "--format=%i").split()
    assert len(running) == 1, (tmp_path / "driver.log").read_text()
    slurm.run("scancel", running[0])
    assert driver.wait(timeout=600) == 0, (tmp_path / "driver.log").read_text()[-3000:]

    # SIGTERM of the scheduler itself, or what the stage passed on, whichever came first
    assert re.search(r"saved at update \d+ after SIG(TERM|USR1)", log.read_text())
    assert "Loaded checkpoint" in log.read_text()
    found = scores(out)
    assert set(found) == {("dense", 0.0), ("one-shot", 0.5)}
    assert found["one-shot", 0.5]["pruned"] == 21_488
    record = json.loads((log.parent / "train.json").read_text())
    assert record["command"][:3] == ["srun", "--nodes=1", "--ntasks=2"]
