"""Evaluations of cells: translations if the task translates, else validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.pair_rule import PairRule
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Evaluation, Translation
from fairseq_lottery.workflow.reading.file_keys import METRICS, EvaluateKeys, FileKeys
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: keys that require a task that translates: at the top of the file, and in entries of ``evaluate``
_TRANSLATION_KEYS = ("references", "generate", "score_command")
_EVALUATE_KEYS = ("beam", "lenpen", "references", "pair", "pair_mask")
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
    "--pair-mask": "write pair_mask under evaluate instead",
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
        references = None
        if keys.references is not None:
            references = values.read_path(("references",), keys.references)
        for number, entry in enumerate(keys.evaluate):
            key: Key = ("evaluate", number)
            evaluations.append(_translation(values, key, entry, references, task))
        scoring = {"references": references, **_scoring(values, keys)}
    else:
        _refuse_translation_keys(values, task, (), keys, _TRANSLATION_KEYS)
        for number, entry in enumerate(keys.evaluate):
            _refuse_translation_keys(values, task, ("evaluate", number), entry, _EVALUATE_KEYS)
            subset = entry.subset or train.valid_subset
            evaluations.append(Evaluation(entry.checkpoint, subset, train.valid_subset))
        metrics = _metrics(values, keys, task, train)
        scoring = {"references": None, "generate": Flags(), "metrics": metrics}
        scoring["score_commands"] = {}
    names = [evaluation.name for evaluation in evaluations]
    for number, evaluation in enumerate(evaluations):
        if names.count(evaluation.name) > 1:
            message = f"evaluate has two entries called {evaluation.name}; remove one"
            raise values.error(("evaluate",), message)
        _refuse_unsaved(values, ("evaluate", number), evaluation, task, train)
    return {"evaluations": tuple(evaluations), **scoring}


def _metrics(values: Values, keys: FileKeys, task: TaskAdapter, train: Flags) -> tuple[str, ...]:
    """Return the metrics of models on examples, the first of which selects the best checkpoint.

    Raises:
        LotteryError: a metric is unknown, or the worst checkpoint would be selected as the best.
    """
    selecting = train.get("--best-checkpoint-metric") or "loss"
    maximises = "--maximize-best-checkpoint-metric" in train
    if selecting in task.metrics and maximises != task.metrics[selecting]:
        better, remedy = ("larger", "add") if task.metrics[selecting] else ("smaller", "remove")
        raise values.error(
            ("train",),
            f"train: {selecting} is better if it is {better}; {remedy}"
            " --maximize-best-checkpoint-metric",
            "--best-checkpoint-metric",
        )
    if keys.metrics is None:
        return (selecting if selecting in task.metrics else next(iter(task.metrics)),)
    if not keys.metrics:
        raise values.error(("metrics",), "metrics is empty; give one, or omit it")
    _refuse_unknown_metrics(values, keys.metrics, tuple(task.metrics))
    return keys.metrics


def _refuse_unknown_metrics(
    values: Values, metrics: tuple[str, ...], known: tuple[str, ...]
) -> None:
    for number, name in enumerate(metrics):
        if name not in known:
            raise values.error(
                ("metrics", number),
                f"metrics[{number}] is {name!r}, expected one of {', '.join(known)}",
            )
        if metrics.count(name) > 1:
            raise values.error(("metrics",), f"metrics has {name} twice; remove one")


def _refuse_translation_keys(
    values: Values, task: TaskAdapter, key: Key, entry: Any, names: tuple[str, ...]
) -> None:
    for name in names:
        if getattr(entry, name) is not None:
            raise values.error(
                (*key, name),
                f"{name} requires a task that translates, and {task.name} does not; omit it",
            )


def _translation(
    values: Values, key: Key, entry: EvaluateKeys, common: Optional[Path], task: TaskAdapter
) -> Translation:
    """Return an evaluation by translations.

    Args:
        common: references of the file for the test set of all entries.
    """
    subset, pair = entry.subset or "test", entry.pair
    has_pairs = "pairs" in task.data_flags
    if has_pairs and pair is None:
        raise values.error(
            key, f"{task.name} has several pairs of languages; add pair: SOURCE-TARGET"
        )
    if pair is not None and not has_pairs:
        raise values.error((*key, "pair"), f"{task.name} has one pair of languages; omit pair")
    if entry.pair_mask is not None and not has_pairs:
        raise values.error(
            (*key, "pair_mask"), f"{task.name} has one pair of languages; omit pair_mask"
        )
    try:
        pair_mask = PairRule.parse(entry.pair_mask).text if entry.pair_mask is not None else ""
    except LotteryError as error:
        raise values.error((*key, "pair_mask"), f"pair_mask: {error}") from error
    if entry.references is not None:
        common = values.read_path(key, entry.references)
    elif pair is not None or subset != "test":
        what = f"pair {pair}" if pair is not None else f"subset {subset}"
        place = "pair" if pair is not None else "subset"
        raise values.error(
            (*key, place), f"{what} requires its own references; add references: FILE"
        )
    if common is None:
        raise values.error((), "references is missing")
    lenpen = 1.0 if entry.lenpen is None else entry.lenpen
    beam = entry.beam or 5
    return Translation(entry.checkpoint, subset, "test", beam, lenpen, common, pair, pair_mask)


def _refuse_unsaved(
    values: Values, key: Key, evaluation: Evaluation, task: TaskAdapter, train: Flags
) -> None:
    """Raise an error if the training does not validate, save and keep the checkpoint."""
    checkpoint, count = evaluation.checkpoint, evaluation.averaged
    if checkpoint == "best" and "--disable-validation" in train:
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
    _refuse_unknown_metrics(values, metrics, METRICS)
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
