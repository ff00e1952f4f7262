"""Pending stages as a script, for machines and clusters without Snakemake.

``bash.sh`` runs up to JOBS stages at a time, each after those that it waits for, in plan order;
``sbatch.sh`` submits a job for each.
"""

from __future__ import annotations

import re
import shlex
import string
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.engine.jobs import jobs_of, write_plan
from fairseq_lottery.workflow.planning.folder_state import Work
from fairseq_lottery.workflow.planning.plan import Plan


class _Script(string.Template):
    """The text of ``bash.sh`` or ``sbatch.sh``, in which ``@@`` precedes the name of a value."""

    delimiter = "@@"


def emit(plan: Plan, stages: tuple[Stage, ...], work: Work, kind: str, jobs: int) -> str:
    """Return a script of the pending stages, and write the ``plan.json`` that they read.

    Args:
        kind: ``bash`` or ``sbatch``.
    """
    forms = {"bash": _bash_stage, "sbatch": _sbatch_stage}
    if kind not in forms:
        raise LotteryError(f"--emit {kind} is unknown; choose one of {', '.join(forms)}")
    script = Path(__file__).with_name(f"{kind}.sh").read_text(encoding="utf-8")
    executor = "slurm" if kind == "sbatch" else "local"
    texts = [forms[kind](job) for job in jobs_of(plan, work, executor)]
    write_plan(plan, stages, work, executor)
    return _Script(script).substitute(
        title=plan.configuration.title,
        count=len(texts),
        jobs=jobs,
        out=shlex.quote(str(plan.configuration.out)),
        stages="\n".join(texts),
    )


def _bash_stage(job: dict[str, Any]) -> str:
    return f"stage {job['name']} '{' '.join(job['after'])}' <<'RUN'\n{job['command']}\nRUN"


def _sbatch_stage(job: dict[str, Any]) -> str:
    after = ":".join(f"${{{_variable(name)}}}" for name in job["after"])
    words = " ".join(map(shlex.quote, _options(job)))
    return (
        f"{_variable(job['name'])}=$(submit {job['name']} \"{after}\" {words} <<'RUN'\n"
        f"{job['command']}\nRUN\n)"
    )


def _options(job: dict[str, Any]) -> list[str]:
    """Return the resources of a job as options of sbatch."""
    names = {
        "slurm_partition": "--partition={}",
        "slurm_account": "--account={}",
        "runtime": "--time={}",
        "mem_mb": "--mem={}M",
        "nodes": "--nodes={}",
        "tasks": "--ntasks={}",
        "gpu": "--gpus={}",
    }
    resources = {"tasks": 1, **job["resources"]}
    unknown = set(resources) - {*names, "slurm_extra", "mpi", "tasks_per_gpu", "slot"}
    if unknown:
        raise LotteryError(
            f"resource {sorted(unknown)[0]} is not supported by --emit sbatch; write its sbatch"
            " option in slurm_extra"
        )
    options = [form.format(resources[name]) for name, form in names.items() if name in resources]
    options += shlex.split(str(resources.get("slurm_extra", "")).replace("=TERM@", "=B:TERM@"))
    return [*options, f"--cpus-per-task={job['threads']}"]


def _variable(name: str) -> str:
    return "job_" + re.sub(r"\W", "_", name)
