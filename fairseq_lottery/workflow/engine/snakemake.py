"""Handing the plan to Snakemake, which carries it out on this machine or on a cluster."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.workflow.engine.progress_board import Board
from fairseq_lottery.workflow.planning.folder_state import Work, read_record, saved_update
from fairseq_lottery.workflow.planning.graph import updates_ahead, waits
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.planning.plan import Plan, recipe
from fairseq_lottery.workflow.planning.stage import RUNNING, Stage
from fairseq_lottery.workflow.planning.train_env import in_environment, interpreter
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.stages.record_lines import refresh

SNAKEFILE = Path(__file__).with_name("Snakefile")
LOG = "engine.log"
#: markers of one start; what is finished for good is said by the stages' records
MARKERS = ".markers"


def carry_out(
    plan: Plan,
    stages: tuple[Stage, ...],
    work: Work,
    jobs: int,
    executor: str,
    console: Console,
) -> None:
    """Run all pending stages; goes on as long as a stopped training had advanced.

    Raises:
        LotteryError: a stage failed, or the engine did.
    """
    out = plan.configuration.out
    write_plan(plan, stages, work, executor)
    refresh(out)
    pending = work.pending
    with Board(console) as board:
        while pending:
            trained = [stage for stage in pending if stage.kind == "train"]
            saved = {stage.name: saved_update(out, stage) for stage in trained}
            code = _snakemake(plan, jobs, executor, pending, board)
            pending = tuple(s for s in pending if read_record(out, s) is None)
            refresh(out)
            advanced = any(saved_update(out, s) > saved[s.name] for s in trained if s in pending)
            if pending and not (code and advanced):
                raise _failure(out, pending)


def write_plan(plan: Plan, stages: tuple[Stage, ...], work: Work, executor: str) -> None:
    """Write ``plan.json``: what stages, Snakemake and reports read."""
    configuration = plan.configuration
    out = configuration.out
    from_start = {repeat.stage.name for repeat in work.repeats}
    for stage in work.again:
        (out / stage.record).unlink(missing_ok=True)
        if stage.name in from_start:
            for pattern in ("checkpoint*.pt*", "train.log", ".train.seconds"):
                for path in (out / stage.folder).glob(pattern):
                    path.unlink()
    known = [{"name": "dense", "title": "dense"}]
    known += [
        {"name": r.name, "title": r.title, "rows": r.technique.rows} for r in configuration.requests
    ]
    content = {
        "title": configuration.title,
        "configuration": str(configuration.source.path),
        "techniques": known,
        "sparsities": sorted({cell.sparsity for cell in plan.cells}),
        "seeds": sorted({cell.seed for cell in plan.cells}),
        "published": configuration.published,
        "recipe": recipe(plan),
        "cells": [
            {
                "technique": cell.technique,
                "sparsity": cell.sparsity,
                "seed": cell.seed,
                "training": cell.training.folder,
            }
            for cell in plan.cells
        ],
        "keep": list(configuration.keep),
        "gpus": configuration.resources.gpus,
        "threads": configuration.resources.threads,
        "executor": executor,
        "retries": configuration.retries,
        "markers": MARKERS,
        "jobs": jobs_of(plan, work, executor),
        "stages": [stage.to_json() for stage in stages],
    }
    shutil.rmtree(out / MARKERS, ignore_errors=True)
    (out / MARKERS).mkdir()
    with replacing(out / "plan.json") as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def jobs_of(plan: Plan, work: Work, executor: str) -> list[dict[str, Any]]:
    """What Snakemake, or a script, is told of every pending stage."""
    ahead, before = updates_ahead(work.pending), waits(work.pending)
    return [
        {
            "name": stage.name,
            "rule": re.sub(r"\W", "_", stage.name),
            "after": before[stage.name],
            "command": stage_line(plan, stage),
            "threads": _threads(plan.configuration, stage, executor),
            "priority": ahead[stage.name],
            "resources": _resources(plan.configuration, stage, executor),
        }
        for stage in work.pending
    ]


def _threads(configuration: Configuration, stage: Stage, executor: str) -> int:
    """Cores of a stage; under Slurm, of each of its tasks."""
    resources = configuration.resources
    if stage.kind in RUNNING:
        return resources.threads
    if stage.kind != "train":
        return 1
    return resources.threads * (1 if executor == "slurm" else resources.processes)


def _resources(configuration: Configuration, stage: Stage, executor: str) -> dict[str, Any]:
    """In the names that Snakemake's executors know."""
    resources = configuration.resources
    found: dict[str, Any] = {"slot": 1} if executor == "local" else {}
    if stage.kind not in ("train", *RUNNING):
        return {**found, **resources.other}
    tasks = resources.processes * resources.nodes
    if stage.kind == "train":
        gpus = resources.gpus * resources.nodes
        if executor == "slurm" and tasks > 1:  # one srun inside the job starts all of them
            found |= {"mpi": "srun", "tasks": tasks, "nodes": resources.nodes}
            found |= {"tasks_per_gpu": 1} if gpus else {}
    else:
        gpus = min(1, resources.gpus)
    found |= {"gpu": gpus} if gpus else {}
    found |= resources.train if stage.kind == "train" else resources.other
    if executor == "slurm" and stage.kind in ("train", "generate"):
        # before its time is up a training is asked to save, and translating to end
        found["slurm_extra"] = f"{found.get('slurm_extra', '')} --signal=TERM@120".strip()
    return found


def stage_line(plan: Plan, stage: Stage) -> str:
    """The shell line that runs a stage in the workflow's folder."""
    python = interpreter(plan.configuration)
    runner = "fairseq_lottery.workflow.stages.runner"
    words = [python, "-m", runner, stage.name, "--", *stage.command]
    # what is started is the stage itself, so that signals reach it
    return in_environment(plan.configuration, f"exec {shlex.join(words)}")


def _snakemake(
    plan: Plan, jobs: int, executor: str, pending: tuple[Stage, ...], board: Board
) -> int:
    configuration = plan.configuration
    out = configuration.out
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--directory", str(out), "--nolock", "--rerun-incomplete", "--keep-going"]
    # what is finished is known; times and texts of files decide nothing
    command += ["--rerun-triggers", "params", "--drop-metadata", "--scheduler", "greedy"]
    command += ["--quiet", "rules", "progress", "reason", "host", "--latency-wait", "60"]
    if executor == "local":
        resources = configuration.resources
        # a stage takes one slot, whatever its threads are
        cores = jobs * resources.processes * resources.threads
        command += ["--cores", str(cores), "--resources", f"slot={jobs}"]
    else:
        command += ["--executor", executor, "--jobs", str(jobs)]
    command += list(configuration.engine)
    for failed in _failures(out, pending):
        failed.unlink()
    with open(out / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=out,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        while _runs(process):
            board.look(out, pending)
    except BaseException:
        # the stages are in Snakemake's group: trainings save, and all of them end
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    board.look(out, pending)
    return process.returncode


def _runs(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end_with_parent() -> None:
    """Linux: SIGTERM when the driver dies, so that no new stage starts; running ones end."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _failures(out: Path, stages: Sequence[Stage]) -> list[Path]:
    paths = (out / stage.folder / f"{stage.kind}.failed" for stage in stages)
    return [path for path in paths if path.is_file()]


def _failure(out: Path, pending: tuple[Stage, ...]) -> LotteryError:
    """The first stage that failed, in its own words."""
    failures = _failures(out, pending)
    if not failures:
        last = [line for line in tail(out / LOG).splitlines() if line.strip()][-1:]
        why = f" ({last[0].strip()[:200]})" if last else ""
        return LotteryError(f"the engine failed{why}; its log is {out / LOG}")
    said = failures[0].read_text(encoding="utf-8").strip()
    more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
    return LotteryError(f"{said}{more}")
