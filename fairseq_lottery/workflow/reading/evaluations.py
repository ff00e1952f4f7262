"""Evaluations of cells: translations if the task translates, else validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Evaluation, Translation
from fairseq_lottery.workflow.reading.file_keys import METRICS, EvaluateKeys, FileKeys
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: keys that require a task that translates: at the top of the file, and in entries of ``evaluate``
_TRANSLATION_KEYS = ("references", "generate", "metrics", "score_command", "published")
_EVALUATE_KEYS = ("beam", "lenpen", "subset", "references")
#: flag of fairseq-generate that the workflow sets or that would change a score's meaning -> advice
_WORKFLOW_FLAGS = {
    **dict.fromkeys(
        "--path --task --user-dir --results-path --required-batch-size-multiple --num-shards"
        " --shard-id --distributed-world-size --distributed-rank".split(),
        "the workflow sets it",
    ),
    "--cpu": "write resources: {gpus: 0} instead",
    "--skip-invalid-size-inputs-valid-test": "a score covers all sentences",
    "--truncate-source": "a score covers complete sentences",
    "--quiet": "the translations are required for scoring",
    "--nbest": "each sentence has one scored translation",
    **dict.fromkeys(("--score-reference", "--prefix-size"), "it would copy the references"),
    **dict.fromkeys(("--beam", "--lenpen", "--gen-subset"), "write it under evaluate instead"),
}


def read_evaluations(
    values: Values, keys: FileKeys, task: TaskAdapter, train: Flags
) -> dict[str, Any]:
    """Validate ``evaluate`` and the keys for translations.

    Args:
        train: flags of the training, which must save the evaluated checkpoints.

    Returns:
        fields of a ``Configuration``.
    """
    if not keys.evaluate:
        raise values.error(("evaluate",), "evaluate is empty; give at least one entry")
    evaluations: list[Evaluation] = []
    if task.translates:
        if keys.references is None:
            raise values.error((), "references is missing")
        references = values.read_path(("references",), keys.references)
        for number, entry in enumerate(keys.evaluate):
            evaluations.append(_translation(values, ("evaluate", number), entry, references))
        scoring = {"references": references, **_scoring(values, keys)}
    else:
        _refuse_translation_keys(values, task, (), keys, _TRANSLATION_KEYS)
        for number, entry in enumerate(keys.evaluate):
            _refuse_translation_keys(values, task, ("evaluate", number), entry, _EVALUATE_KEYS)
            evaluations.append(Evaluation(entry.checkpoint, train.valid_subset))
        scoring = {"references": None, "generate": Flags(), "metrics": (), "score_commands": {}}
    names = [evaluation.name for evaluation in evaluations]
    for number, evaluation in enumerate(evaluations):
        if names.count(evaluation.name) > 1:
            message = f"evaluate has two entries called {evaluation.name}; remove one"
            raise values.error(("evaluate",), message)
        _refuse_unsaved(values, ("evaluate", number), evaluation, task, train)
    return {"evaluations": tuple(evaluations), **scoring}


def _refuse_translation_keys(
    values: Values, task: TaskAdapter, key: Key, entry: Any, names: tuple[str, ...]
) -> None:
    for name in names:
        if getattr(entry, name) is not None:
            raise values.error(
                (*key, name),
                f"{name} requires a task that translates, and {task.name} does not; omit it",
            )


def _translation(values: Values, key: Key, entry: EvaluateKeys, references: Path) -> Translation:
    subset = entry.subset or "test"
    if entry.references is not None:
        references = values.read_path(key, entry.references)
    elif subset != "test":
        raise values.error(
            (*key, "subset"), f"subset {subset} requires its own references; add references: FILE"
        )
    lenpen = 1.0 if entry.lenpen is None else entry.lenpen
    return Translation(entry.checkpoint, subset, entry.beam or 5, lenpen, references)


def _refuse_unsaved(
    values: Values, key: Key, evaluation: Evaluation, task: TaskAdapter, train: Flags
) -> None:
    """Raise an error if the training does not validate, save and keep the checkpoint."""
    checkpoint, count = evaluation.checkpoint, evaluation.averaged
    if count and not task.translates:
        raise values.error(key, f"{checkpoint} is never validated; write best or last")
    is_validated = checkpoint == "best" or not task.translates
    if is_validated and "--disable-validation" in train:
        raise values.error(key, f"{checkpoint} requires validations; remove --disable-validation")
    if not count:
        return
    interval = train.number("--save-interval-updates")
    if not interval:
        raise values.error(key, f"{checkpoint} requires --save-interval-updates in train; add it")
    if count * interval > values.updates:
        saved = int(values.updates // interval)
        raise values.error(
            key, f"{checkpoint}: a training saves {saved} checkpoints; save more often"
        )
    kept = train.number("--keep-interval-updates")
    if kept is not None and 0 <= kept < count:
        raise values.error(
            key, f"{checkpoint}: --keep-interval-updates {kept:g} is too small; give {count}"
        )


def _scoring(values: Values, keys: FileKeys) -> dict[str, Any]:
    """Return the settings of translation and scoring."""
    metrics = METRICS if keys.metrics is None else keys.metrics
    commands = keys.score_command or {}
    if not metrics and not commands:
        raise values.error(("metrics",), "metrics is empty; give one, or a score_command")
    for name in METRICS:
        if name in commands:
            raise values.error(
                ("score_command", name), f"score_command.{name} has a name of sacreBLEU; rename it"
            )
    generate = values.read_flags("generate", keys.generate or "", _WORKFLOW_FLAGS)
    return {"generate": generate, "metrics": metrics, "score_commands": commands}
