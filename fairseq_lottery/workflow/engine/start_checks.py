"""What is checked once, before the first stage starts."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Prunable, values
from fairseq_lottery.records.plan import FILE, Stage, read_stage_plan
from fairseq_lottery.workflow.planning.cost import Cost
from fairseq_lottery.workflow.planning.folder_state import Work, read_record
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.train_env import (
    in_environment,
    interpreter,
    task_words,
    translation_flags,
)
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.reading.yaml_lines import Key

#: seconds that the training's environment has for its answer; it builds the model for it
PATIENCE = 600
#: commands of a cluster that an executor calls
_COMMANDS = {"slurm": ("sbatch", "scancel")}


@dataclass(frozen=True)
class Asked:
    """What the training's environment has to say of a plan that it can carry out.

    Attributes:
        notes: where an adopted run was trained with other flags.
        parameters: of the model, None where nothing could be asked.
    """

    notes: list[str]
    parameters: Optional[int]


def refuse_repeats(work: Work, cost: Cost) -> None:
    """Refuse to train again what has been trained, unless that is asked for."""
    if not work.repeats:
        return
    again = "; ".join(f"{repeat.stage.folder} ({repeat.why})" for repeat in work.repeats)
    seconds = (cost.rates.seconds or 0) * work.repeated_updates
    hours = f" and about {seconds / 3600:.1f} hours of training" if seconds else ""
    raise LotteryError(
        f"{len(work.repeats)} finished trainings would run again, {work.repeated_updates:,}"
        f" updates{hours}: {again}; give --yes if that is meant, or another --out"
    )


def refuse_other_plan(out: Path, stages: tuple[Stage, ...]) -> None:
    """Refuse a folder in which another plan is unfinished: its files would be cleaned up."""
    if not (out / FILE).exists():
        return
    before = read_stage_plan(out)
    now = {stage.name for stage in stages}
    lost = [s for s in before.stages if s.kind == "score" and s.name not in now
            and read_record(out, s) is None]  # fmt: skip
    if lost:
        raise LotteryError(
            f"{out} has a plan of {before.configuration} with {len(lost)} cells that are not"
            f" finished and not in this one ({lost[0].folder}); finish it, give another --out, or"
            " --yes to give them up"
        )


def check_executor(executor: str) -> None:
    """Refuse an executor that the installed Snakemake does not have, or Slurm without its commands.

    Snakemake itself would try for a minute, and then end without saying why.
    """
    plugins = importlib.import_module("snakemake_interface_executor_plugins.registry")
    known = sorted(plugins.ExecutorPluginRegistry().plugins)
    if executor not in known:
        raise LotteryError(
            f"Snakemake has no executor {executor!r}; choose one of {', '.join(known)}, or install"
            f" snakemake-executor-plugin-{executor}"
        )
    missing = [name for name in _COMMANDS.get(executor, ()) if shutil.which(name) is None]
    if missing:
        raise LotteryError(
            f"--executor {executor} needs the command {missing[0]}, which is not on the PATH of"
            " this machine; start on a machine of the cluster that submits jobs, or do without"
            " --executor"
        )


def check_disk(configuration: Configuration, cost: Cost) -> None:
    """Refuse a plan that does not fit on the disk."""
    free = shutil.disk_usage(configuration.out).free
    if cost.peak is not None and cost.peak > free:
        raise configuration.source.error(
            ("out",),
            f"the plan needs up to {cost.peak / 1e9:.1f} GB in {configuration.out}, where"
            f" {free / 1e9:.1f} GB are free; give another --out or fewer --jobs",
        )


def check_environment(plan: Plan, work: Work, executor: str) -> Asked:
    """Ask the training's environment whether it takes the flags and has what is needed.

    Raises:
        LotteryError: it does not start, or refuses something; with the line of the file.
    """
    configuration = plan.configuration
    found = _ask(configuration, _question(plan, work))
    if found.get("absent") and executor == "other":
        return Asked([f"nothing was checked in it: {found['problem']}"], None)
    if found.get("problem"):
        where = found.get("where", "train_env")
        key: Key = (where,) if isinstance(where, str) else tuple(where)
        raise configuration.source.error(key, found["problem"], found.get("about", ""))
    wanted = configuration.resources.gpus
    if executor == "local" and found["gpus"] < wanted:
        raise configuration.source.error(
            ("resources", "gpus"),
            f"a training wants {wanted} GPUs and this machine has {found['gpus']}; change gpus"
            " (0 trains on the CPU), or give --executor",
        )
    return Asked(list(found["notes"]), found["parameters"])


def _question(plan: Plan, work: Work) -> dict[str, Any]:
    """What ``stages.preflight`` is asked."""
    configuration = plan.configuration
    fixed = task_words(configuration)
    words = {"train": [*fixed, *configuration.train.words()]}
    if configuration.task.translates:
        generate = translation_flags(configuration)
        words["generate"] = [*fixed, "--path", "model.pt", *generate]
    axes = [axis for training in plan.trainings for axis in (training.ticket, training.pruning)]
    masks = [{"scope": a.scope, **values(a, Prunable)} for a in axes if a is not None]
    scheduled = [(t, t.pruning) for t in plan.trainings if t.pruning is not None]
    return {
        "task": configuration.task.name,
        "words": words,
        "weights": list(configuration.train.of_weights()),
        "adopt": [stage.facts["adopts"] for stage in work.pending if stage.kind == "adopt"],
        "scores": sorted({axis.score for axis in axes if axis is not None}),
        "scheduled": sorted({pruning.score for _, pruning in scheduled}),
        "at_once": sorted({g.score for t, g in scheduled if g.start == t.first_update}),
        "masks": [one for n, one in enumerate(masks) if one not in masks[:n]],
        "component_choices": [
            {**choice.content, "of": None}
            for choice in plan.component_choices
            if choice.share_pruned is not None
        ],
        "tests": [
            {"subset": subset, "references": str(references), "where": key}
            for (subset, references), key in configuration.test_sets.items()
        ],
    }


def _ask(configuration: Configuration, question: dict[str, Any]) -> dict[str, Any]:
    command = f"exec {interpreter(configuration)} -m fairseq_lottery.workflow.stages.preflight"
    try:
        ended = subprocess.run(
            ["bash", "-c", in_environment(configuration, command)],
            cwd=configuration.out,  # as every stage: what is found from here is found there
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        problem = (
            f"the training's environment does not answer within {PATIENCE} seconds; see what"
            " train_env waits for"
        )
        return {"absent": True, "problem": problem}
    try:
        answer: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        last = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        problem = (
            f"the training's environment does not start ({last[:200]}); install this package"
            " there, or correct train_env"
        )
        return {"absent": True, "problem": problem}
    return answer
