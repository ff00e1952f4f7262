"""Pending stages as jobs for Snakemake and scripts, and the file ``plan.json``."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict
from typing import Any

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.command_lines.train_env import in_environment, interpreter
from fairseq_lottery.workflow.planning.folder_state import Work
from fairseq_lottery.workflow.planning.graph import find_dependencies, updates_ahead
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.recipe import recipe
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.stages.runner import MODULE

#: folder of Snakemake's markers for one start; records, not markers, tell which stages finished
MARKERS = ".markers"


def write_plan(plan: Plan, stages: tuple[Stage, ...], work: Work, executor: str) -> None:
    """Write ``plan.json`` for stages, Snakemake and reports, and delete what runs again."""
    configuration = plan.configuration
    out = configuration.out
    for stage in work.repeated:
        (out / stage.record).unlink(missing_ok=True)
    for repeat in work.repeats:
        if repeat.stage in work.repeated:
            for pattern in ("checkpoint*.pt*", "train.log", ".train.seconds"):
                for path in (out / repeat.stage.folder).glob(pattern):
                    path.unlink()
    content = {
        "title": configuration.title,
        "configuration": str(configuration.source.path),
        "techniques": [
            {"name": DENSE, "title": DENSE},
            *(
                {
                    "name": request.name,
                    "title": request.title,
                    "rows": request.technique.rows,
                    **({"source": request.source} if request.source is not None else {}),
                }
                for request in plan.requests.values()
            ),
        ],
        "sparsities": sorted({cell.sparsity for cell in plan.cells}),
        "seeds": sorted({cell.seed for cell in plan.cells}),
        "published": configuration.published,
        "recipe": recipe(configuration),
        **_data_sets(configuration),
        "cells": [
            {
                "technique": cell.technique,
                "sparsity": cell.sparsity,
                "seed": cell.seed,
                "training": cell.training.folder,
                **({"data": cell.data} if cell.data else {}),
                **({"keeps_start": True} if cell.training.keeps_pretrained else {}),
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
    write_file(out / "plan.json", content, indent=1)


def jobs_of(plan: Plan, work: Work, executor: str) -> list[dict[str, Any]]:
    """Return every pending stage as a job for Snakemake or a script."""
    ahead, before = updates_ahead(work.pending), find_dependencies(work.pending)
    python = interpreter(plan.configuration)
    return [
        {
            "name": stage.name,
            "rule": re.sub(r"\W", "_", stage.name),
            "after": before[stage.name],
            "command": in_environment(
                plan.configuration, [python, "-m", MODULE, stage.name, "--", *stage.command]
            ),
            "threads": _threads(plan.configuration, stage, executor),
            "priority": ahead[stage.name],
            "resources": _resources(plan.configuration, stage, executor),
        }
        for stage in work.pending
    ]


def _data_sets(configuration: Configuration) -> dict[str, Any]:
    """Return the entry of ``plan.json`` for several data sets; empty for one without a name."""
    if not configuration.data_name:
        return {}
    return {
        "data_sets": [
            {"name": data_set.data_name, "task": data_set.task.name, "recipe": recipe(data_set)}
            for data_set in configuration.data_sets
        ]
    }


def _threads(configuration: Configuration, stage: Stage, executor: str) -> int:
    """Return the cores of a stage; under Slurm, of each of its tasks."""
    resources = configuration.resources
    if stage.runs_model:
        return resources.threads
    if stage.kind != "train":
        return 1
    return resources.threads * (1 if executor == "slurm" else resources.processes)


def _resources(configuration: Configuration, stage: Stage, executor: str) -> dict[str, Any]:
    """Return the resources of a stage, by their names in Snakemake."""
    resources = configuration.resources
    named: dict[str, Any] = {"slot": 1} if executor == "local" else {}
    if stage.kind == "train":
        tasks = resources.processes * resources.nodes
        gpus = resources.gpus * resources.nodes
        if executor == "slurm" and tasks > 1:  # one srun inside the job starts all of them
            named |= {"mpi": "srun", "tasks": tasks, "nodes": resources.nodes}
            named |= {"tasks_per_gpu": 1} if gpus else {}
    else:
        gpus = min(1, resources.gpus) if stage.runs_model else 0
    named |= {"gpu": gpus} if gpus else {}
    named |= resources.train if stage.kind == "train" else resources.other
    if executor == "slurm" and stage.kind in ("train", "generate", "analyze"):
        # two minutes before the time limit, trainings save and other stages end
        named["slurm_extra"] = f"{named.get('slurm_extra', '')} --signal=TERM@120".strip()
    return named
