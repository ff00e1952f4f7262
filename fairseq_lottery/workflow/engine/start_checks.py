"""Checks before the first stage starts."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Prunable, values
from fairseq_lottery.records.plan import FILE, Stage, read_stage_plan
from fairseq_lottery.workflow.command_lines import train_env
from fairseq_lottery.workflow.planning.cost import Cost
from fairseq_lottery.workflow.planning.folder_state import Work, read_record
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.reading.yaml_lines import Key

#: timeout in seconds of the training's environment, which builds the model for its answer
PATIENCE = 600
#: executor -> commands that it calls
_COMMANDS = {"slurm": ("sbatch", "scancel")}


def refuse_repeats(work: Work, cost: Cost) -> None:
    """Raise an error if finished trainings would run again."""
    if not work.repeats:
        return
    repeats = "; ".join(f"{repeat.stage.folder} ({repeat.why})" for repeat in work.repeats)
    seconds = (cost.rates.seconds or 0) * work.repeated_updates
    hours = f" and about {seconds / 3600:.1f} hours of training" if seconds else ""
    raise LotteryError(
        f"{len(work.repeats)} finished trainings would run again, {work.repeated_updates:,}"
        f" updates{hours}: {repeats}; give --yes to repeat them, or another --out"
    )


def refuse_other_plan(out: Path, stages: tuple[Stage, ...]) -> None:
    """Raise an error if the folder has another unfinished plan, whose files would be deleted."""
    if not (out / FILE).exists():
        return
    before = read_stage_plan(out)
    now = {stage.name for stage in stages}
    lost = [s for s in before.stages if s.kind == "score" and s.name not in now
            and read_record(out, s) is None]  # fmt: skip
    if lost:
        raise LotteryError(
            f"{out} has a plan of {before.configuration} with {len(lost)} unfinished cells that"
            f" this plan lacks ({lost[0].folder}); finish it, give another --out, or --yes to"
            " discard them"
        )


def check_executor(executor: str) -> None:
    """Raise an error for an unknown executor, or for Slurm without its commands.

    Snakemake would retry for a minute, and then end without a reason.
    """
    plugins = importlib.import_module("snakemake_interface_executor_plugins.registry")
    known = sorted(plugins.ExecutorPluginRegistry().plugins)
    if executor not in known:
        raise LotteryError(
            f"executor {executor!r} is not installed; choose one of {', '.join(known)}, or install"
            f" snakemake-executor-plugin-{executor}"
        )
    missing = [name for name in _COMMANDS.get(executor, ()) if shutil.which(name) is None]
    if missing:
        raise LotteryError(
            f"--executor {executor} requires the command {missing[0]}, which is not on the PATH;"
            " start on a login node of the cluster, or omit --executor"
        )


def check_disk(configuration: Configuration, cost: Cost) -> None:
    """Raise an error for a plan that does not fit on the disk."""
    free = shutil.disk_usage(configuration.out).free
    if cost.peak is not None and cost.peak > free:
        raise configuration.source.error(
            ("out",),
            f"the plan requires up to {cost.peak / 1e9:.1f} GB in {configuration.out}, where"
            f" {free / 1e9:.1f} GB are free; give another --out or fewer --jobs",
        )


def check_environment(plan: Plan, work: Work, executor: str) -> tuple[list[str], Optional[int]]:
    """Check the plan in the training's environment.

    Returns:
        notes on adopted runs with other flags than the plan, and the number of parameters of the
        largest model, None if the environment is not on this machine.

    Raises:
        LotteryError: the environment does not start, or rejects a value of the configuration.
    """
    notes: list[str] = []
    counts: list[int] = []
    for configuration in plan.configuration.data_sets:
        more, parameters = _check_data_set(configuration, plan, work, executor)
        notes += [note for note in more if note not in notes]
        counts += [] if parameters is None else [parameters]
    return notes, max(counts, default=None)


def _check_data_set(
    configuration: Configuration, plan: Plan, work: Work, executor: str
) -> tuple[list[str], Optional[int]]:
    """Check the trainings of one data set, as ``check_environment`` does."""
    answer = _ask(configuration, _question(configuration, plan, work))
    if answer.get("absent") and executor == "other":
        return [f"the plan was not checked: {answer['problem']}"], None
    if answer.get("problem"):
        where = answer.get("where", "train_env")
        key: Key = (where,) if isinstance(where, str) else tuple(where)
        raise configuration.source.error(key, answer["problem"], answer.get("about", ""))
    gpus = configuration.resources.gpus
    if executor == "local" and answer["gpus"] < gpus:
        raise configuration.source.error(
            ("resources", "gpus"),
            f"a training requires {gpus} GPUs and this machine has {answer['gpus']}; change gpus"
            " (0 trains on the CPU), or give --executor",
        )
    return answer["notes"], answer["parameters"]


def _question(configuration: Configuration, plan: Plan, work: Work) -> dict[str, Any]:
    """Return the question for ``stages.preflight``, which describes its keys."""
    trainings = [t for t in plan.trainings if t.data == configuration.data_name]
    choices = dict.fromkeys(t.components for t in trainings if t.components is not None)
    first_words = train_env.task_words(configuration)
    words = {"train": [*first_words, *configuration.train.words()]}
    generate = [*first_words, "--path", "model.pt", *train_env.translation_flags(configuration)]
    pairs = {test.pair: test.pair_words for test in configuration.translations}
    words.update({f"generate {pair or ''}".strip(): [*generate, *p] for pair, p in pairs.items()})
    axes = [axis for training in trainings for axis in (training.ticket, training.pruning)]
    masks = [
        {
            "scope": axis.scope,
            # pruned components are not counted without the model
            "sparsity": 0.0 if getattr(axis, "components", None) else axis.sparsity,
            **values(axis, Prunable),
        }
        for axis in axes
        if axis is not None
    ]
    scheduled = [(t, t.pruning) for t in trainings if t.pruning is not None]
    return {
        "task": configuration.task.name,
        "words": words,
        "weights": list(configuration.train.of_weights()),
        "adopt": [stage.facts["adopts"] for stage in work.pending if stage.kind == "adopt"],
        "scores": sorted({axis.score for axis in axes if axis is not None}),
        "scheduled": sorted({pruning.score for _, pruning in scheduled}),
        "at_once": sorted(
            {g.score for t, g in scheduled if g.start == t.first_update and not g.is_initial}
        ),
        "masks": [mask for n, mask in enumerate(masks) if mask not in masks[:n]],
        "analysis": None if configuration.analysis is None else asdict(configuration.analysis),
        "component_choices": [
            {**choice.content, "of": None} for choice in choices if choice.share_pruned is not None
        ],
        "pretrained": None if configuration.pretrained is None else str(configuration.pretrained),
        "tests": [
            {"subset": subset, "pair": pair, "references": str(references), "where": key}
            for (subset, pair, references), key in configuration.test_sets.items()
        ],
    }


def _ask(configuration: Configuration, question: dict[str, Any]) -> dict[str, Any]:
    python = train_env.interpreter(configuration)
    words = [python, "-m", "fairseq_lottery.workflow.stages.preflight"]
    try:
        ended = train_env.run(configuration, words, input=json.dumps(question), timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        problem = (
            f"the training's environment does not answer within {PATIENCE} seconds; check train_env"
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
