"""The pending stages as jobs, for Snakemake and for scripts, and the plan that stages read."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.plan import RUNNING, Stage
from fairseq_lottery.workflow.planning.folder_state import Work
from fairseq_lottery.workflow.planning.graph import updates_ahead, waits
from fairseq_lottery.workflow.planning.plan import DENSE, Plan, recipe
from fairseq_lottery.workflow.planning.train_env import in_environment, interpreter
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.stages.runner import MODULE

#: markers of one start; what is finished for good is said by the stages' records
MARKERS = ".markers"


def write_plan(plan: Plan, stages: tuple[Stage, ...], work: Work, executor: str) -> None:
    """Write ``plan.json``: what stages, Snakemake and reports read."""
    configuration = plan.configuration
    out = configuration.out
    for stage in work.again:
        (out / stage.record).unlink(missing_ok=True)
    for repeat in work.repeats:
        if repeat.stage in work.again:
            for pattern in ("checkpoint*.pt*", "train.log", ".train.seconds"):
                for path in (out / repeat.stage.folder).glob(pattern):
                    path.unlink()
    content = {
        "title": configuration.title,
        "configuration": str(configuration.source.path),
        "techniques": [
            {"name": DENSE, "title": DENSE},
            *(
                {"name": one.name, "title": one.title, "rows": one.technique.rows}
                for one in configuration.requests
            ),
        ],
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
        "stages": [{"name": stage.name, **asdict(stage)} for stage in stages],
    }
    shutil.rmtree(out / MARKERS, ignore_errors=True)
    (out / MARKERS).mkdir()
    write_file(Path(out) / "plan.json", content, indent=1)


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


def stage_line(plan: Plan, stage: Stage) -> str:
    """The shell line that runs a stage in the workflow's folder."""
    python = interpreter(plan.configuration)
    words = [python, "-m", MODULE, stage.name, "--", *stage.command]
    # what is started is the stage itself, so that signals reach it
    return in_environment(plan.configuration, f"exec {shlex.join(words)}")


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
    if stage.kind == "train":
        tasks = resources.processes * resources.nodes
        gpus = resources.gpus * resources.nodes
        if executor == "slurm" and tasks > 1:  # one srun inside the job starts all of them
            found |= {"mpi": "srun", "tasks": tasks, "nodes": resources.nodes}
            found |= {"tasks_per_gpu": 1} if gpus else {}
    else:
        gpus = min(1, resources.gpus) if stage.kind in RUNNING else 0
    found |= {"gpu": gpus} if gpus else {}
    found |= resources.train if stage.kind == "train" else resources.other
    if executor == "slurm" and stage.kind in ("train", "generate"):
        # before its time is up a training is asked to save, and translating to end
        found["slurm_extra"] = f"{found.get('slurm_extra', '')} --signal=TERM@120".strip()
    return found
