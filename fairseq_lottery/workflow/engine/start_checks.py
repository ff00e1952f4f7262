"""What is checked once, before the first stage starts."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing, sha256_of
from fairseq_lottery.options import Prunable, values
from fairseq_lottery.workflow.planning.cost import Cost
from fairseq_lottery.workflow.planning.folder_files import read_object, read_plan
from fairseq_lottery.workflow.planning.folder_state import Work, read_record
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.stage import Stage
from fairseq_lottery.workflow.planning.train_env import (
    in_environment,
    interpreter,
    task_words,
    translation_flags,
)
from fairseq_lottery.workflow.reading.configuration import Configuration, Translation
from fairseq_lottery.workflow.reading.yaml_lines import Key

DATA = "data.json"
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
    stored = out / "plan.json"
    if not stored.exists():
        return
    before = read_plan(out)
    now = {stage.name for stage in stages}
    then = [Stage.from_json(stage) for stage in before["stages"]]
    lost = [s for s in then if s.kind == "score" and s.name not in now
            and read_record(out, s) is None]  # fmt: skip
    if lost:
        raise LotteryError(
            f"{out} has a plan of {before['configuration']} with {len(lost)} cells that are not"
            f" finished and not in this one ({lost[0].folder}); finish it, give another --out, or"
            " --yes to give them up"
        )


def check_files(configuration: Configuration) -> dict[str, Any]:
    """Refuse missing or other data, references of other sentences, or a missing adopted run.

    The data of a folder are known by their content: with other data under the same name,
    finished trainings would stand beside new ones that learned something else.

    Returns:
        size, time and hash of each file that trainings depend on, for ``note_data``.
    """
    error = configuration.source.error
    data = configuration.data
    files = sorted(data.glob("dict*.txt")) + sorted(data.glob("*.bin")) if data.is_dir() else []
    if not any(path.name.startswith("train.") for path in files):
        what = "has no train.*.bin" if data.is_dir() else "is not there"
        command = configuration.prepare or "fairseq-preprocess"
        raise error(("data",), f"the data folder {data} {what}; run {command} first")
    named = configuration.train.get("--valid-subset")
    asked: list[tuple[str, Key]] = [
        (subset, ("train",) if named else ("data",)) for subset in (named or "valid").split(",")
    ]
    for number, evaluation in enumerate(_translations(configuration)):
        written = "evaluate" in configuration.source.values
        asked.append((evaluation.subset, ("evaluate", number, "subset") if written else ("data",)))
    for subset, key in asked:
        if not any(path.name.startswith(f"{subset}.") for path in files):
            raise error(key, f"the data folder {data} has no {subset}.*.bin; give"
                        f" fairseq-preprocess --{subset}pref")  # fmt: skip
    for (_, references), key in _test_sets(configuration).items():
        if not references.is_file():
            advice = f"; run {configuration.prepare} first" if configuration.prepare else ""
            raise error(key, f"the references {references} are not there; they are the raw text of"
                        f" the test set{advice}")  # fmt: skip
    for folder in configuration.adopted_folders:
        if not Path(folder, "checkpoint_last.pt").is_file():
            raise error(("adopt", "dense"), f"{folder} has no checkpoint_last.pt to adopt")
    return _refuse_other_data(configuration, [p for p in files if _is_learned(p, configuration)])


def _is_learned(path: Path, configuration: Configuration) -> bool:
    """Whether trainings depend on a file: a test set may come to be another."""
    flags = configuration.train
    named = (flags.get(name, "") for name in ("--train-subset", "--valid-subset"))
    subsets = ",".join(map(str, named)).split(",")
    stem = path.name.partition(".")[0]
    # fairseq reads train1, train2, ... along with train
    return stem in subsets or bool(re.fullmatch(r"dict|(train|valid)\d*", stem))


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


def _translations(configuration: Configuration) -> list[Translation]:
    """Return the evaluations by translations: all of them where the task translates."""
    return [one for one in configuration.evaluations if isinstance(one, Translation)]


def _test_sets(configuration: Configuration) -> dict[tuple[str, Path], Key]:
    """Subset and references of every test set -> where the references are named."""
    found: dict[tuple[str, Path], Key] = {}
    for number, evaluation in enumerate(_translations(configuration)):
        own: Key = ("evaluate", number, "references")
        where = ("references",) if evaluation.references == configuration.references else own
        found.setdefault((evaluation.subset, evaluation.references), where)
    return found


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
    fixed = task_words(configuration)
    axes = [axis for training in plan.trainings for axis in (training.ticket, training.growth)]
    masks = [{"scope": a.scope, **values(a, Prunable)} for a in axes if a is not None]
    words = {"train": [*fixed, *configuration.train.words()]}
    if configuration.task.translates:
        generate = [*fixed, "--path", "model.pt", *translation_flags(configuration)]
        words["generate"] = generate
    question = {
        "task": configuration.task.name,
        "words": words,
        "weights": list(configuration.train.of_weights()),
        "adopt": [stage.facts["adopts"] for stage in work.pending if stage.kind == "adopt"],
        "scores": sorted(plan.scores),
        "growing": sorted({t.growth.score for t in plan.trainings if t.growth is not None}),
        "at_once": sorted(_scores_at_once(plan)),
        "masks": [one for n, one in enumerate(masks) if one not in masks[:n]],
        "closings": [
            {**parts.content, "of": None}
            for parts in plan.closings
            if parts.share_closed is not None
        ],
        "tests": [
            {"subset": subset, "references": str(references), "where": key}
            for (subset, references), key in _test_sets(configuration).items()
        ],
    }
    found = _ask(configuration, question)
    if found.get("absent") and executor == "other":
        return Asked([f"nothing was checked in it: {found['problem']}"], None)
    if found.get("problem"):
        raise configuration.source.error(
            _key(found.get("where", "train_env")),
            found["problem"],
            found.get("about", ""),
        )
    wanted = configuration.resources.gpus
    if executor == "local" and found["gpus"] < wanted:
        raise configuration.source.error(
            ("resources", "gpus"),
            f"a training wants {wanted} GPUs and this machine has {found['gpus']}; change gpus"
            " (0 trains on the CPU), or give --executor",
        )
    return Asked(list(found["notes"]), found["parameters"])


def _scores_at_once(plan: Plan) -> set[str]:
    """Return the scores by which a mask changes before the first update of its training."""
    scores = set()
    for training in plan.trainings:
        first = training.ticket.first_update if training.ticket is not None else 0
        if training.growth is not None and training.growth.start == first:
            scores.add(training.growth.score)
    return scores


def _key(where: Union[str, list[Any]]) -> Key:
    return (where,) if isinstance(where, str) else tuple(where)


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


def note_data(configuration: Configuration, data: dict[str, Any]) -> None:
    """Keep what the folder's runs are trained on, as ``check_files`` found it.

    Once a start is accepted: a refused one must not tie a folder to its data.
    """
    stored = configuration.out / DATA
    if data != read_object(stored):
        with replacing(stored) as path:
            path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _refuse_other_data(configuration: Configuration, files: list[Path]) -> dict[str, Any]:
    stored = configuration.out / DATA
    before = read_object(stored) or {}
    for name, then in before.items():
        if not isinstance(then, dict) or not isinstance(then.get("sha256"), str):
            raise LotteryError(f"{stored} is damaged (its {name} has no sha256); delete it")
    now = {path.name: _identity(path, before.get(path.name)) for path in files}
    for name, then in before.items():
        if not _is_learned(Path(name), configuration):
            continue
        if name not in now or now[name]["sha256"] != then["sha256"]:
            raise configuration.source.error(
                ("data",),
                f"{configuration.data} holds other data than this folder's runs were trained on"
                f" ({name} differs); give another --out",
            )
    return now


def _identity(path: Path, before: dict[str, Any] | None) -> dict[str, Any]:
    """Size, time and hash of a file; it is read only where size or time have changed."""
    status = os.stat(path)
    seen = {"size": status.st_size, "time": status.st_mtime_ns}
    if before and all(before.get(key) == value for key, value in seen.items()):
        return before
    return {**seen, "sha256": sha256_of(path)}
