"""How cells are evaluated: by translations where the task translates, else by validations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Evaluation, Translation
from fairseq_lottery.workflow.reading.file_keys import METRICS, EvaluateKeys, FileKeys
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: keys that only a task that translates has: of the file's top, and of an entry of ``evaluate``
_OF_TRANSLATIONS = ("references", "generate", "metrics", "score_command", "published")
_OF_A_TRANSLATION = ("beam", "lenpen", "subset", "references")
#: flags of a translation that say what its row says
_OWN_GENERATE = frozenset(
    "--path --task --user-dir --gen-subset --beam --lenpen --results-path --cpu"
    " --required-batch-size-multiple --num-shards --shard-id --distributed-world-size"
    " --distributed-rank --skip-invalid-size-inputs-valid-test --truncate-source --quiet --nbest"
    " --score-reference --prefix-size".split()
)
_WHY = {
    "--cpu": "write resources: {gpus: 0}",
    "--skip-invalid-size-inputs-valid-test": "no sentence is left out of a score",
    "--truncate-source": "no sentence is cut for a score",
    "--quiet": "the translations are what is scored",
    "--nbest": "a sentence is scored by one translation",
    **dict.fromkeys(("--score-reference", "--prefix-size"), "references are no translations"),
    **dict.fromkeys(("--beam", "--lenpen", "--gen-subset"), "write it under evaluate"),
}


def read_evaluations(
    values: Values, keys: FileKeys, task: TaskAdapter, train: Flags
) -> dict[str, Any]:
    """Check ``evaluate`` and the keys about translations.

    Args:
        train: flags of the training, which has to save what is evaluated.

    Returns:
        fields of a ``Configuration``.
    """
    if not keys.evaluate:
        raise values.error(("evaluate",), "evaluate is empty")
    found: list[Evaluation] = []
    if task.translates:
        if keys.references is None:
            raise values.error((), "references is missing")
        references = values.path(("references",), keys.references)
        for number, entry in enumerate(keys.evaluate):
            found.append(_translation(values, ("evaluate", number), entry, references))
        more = {"references": references, **_scoring(values, keys)}
    else:
        _refuse_translating(values, task, (), keys, _OF_TRANSLATIONS)
        for number, entry in enumerate(keys.evaluate):
            _refuse_translating(values, task, ("evaluate", number), entry, _OF_A_TRANSLATION)
            found.append(Evaluation(entry.checkpoint, train.valid_subset))
        more = {"references": None, "generate": Flags(), "metrics": (), "score_commands": {}}
    names = [evaluation.name for evaluation in found]
    for number, evaluation in enumerate(found):
        if names.count(evaluation.name) > 1:
            raise values.error(("evaluate",), f"evaluate has two entries called {evaluation.name}")
        _refuse_unsaved(values, ("evaluate", number), evaluation, task, train)
    return {"evaluations": tuple(found), **more}


def _refuse_translating(
    values: Values, task: TaskAdapter, key: Key, given: Any, names: tuple[str, ...]
) -> None:
    for name in names:
        if getattr(given, name) is not None:
            raise values.error(
                (*key, name),
                f"{name} requires a task that translates, and the task is {task.name}, whose cells"
                " are evaluated by validations; leave it out",
            )


def _translation(values: Values, key: Key, entry: EvaluateKeys, references: Path) -> Translation:
    subset = entry.subset or "test"
    if entry.references is not None:
        references = values.path(key, entry.references)
    elif subset != "test":
        raise values.error((*key, "subset"), f"the subset {subset} needs references: of its own")
    lenpen = 1.0 if entry.lenpen is None else entry.lenpen
    return Translation(entry.checkpoint, subset, entry.beam or 5, lenpen, references)


def _refuse_unsaved(
    values: Values, key: Key, evaluation: Evaluation, task: TaskAdapter, train: Flags
) -> None:
    """Refuse a checkpoint that the training does not validate, or not save and keep."""
    checkpoint, count = evaluation.checkpoint, evaluation.averaged
    if count and not task.translates:
        raise values.error(key, f"{checkpoint} has no validation of its own; write best or last")
    validated = checkpoint == "best" or not task.translates
    if validated and "--disable-validation" in train:
        raise values.error(key, f"{checkpoint} needs validations; train has --disable-validation")
    if not count:
        return
    every = train.number("--save-interval-updates")
    if not every:
        raise values.error(key, f"{checkpoint} needs --save-interval-updates in train")
    if count * every > values.updates:
        there = int(values.updates // every)
        raise values.error(key, f"{checkpoint}: a training saves {there} checkpoints")
    kept = train.number("--keep-interval-updates")
    if kept is not None and 0 <= kept < count:
        raise values.error(key, f"{checkpoint}: train keeps {kept:g} checkpoints")


def _scoring(values: Values, keys: FileKeys) -> dict[str, Any]:
    """How translations are made and scored."""
    metrics = METRICS if keys.metrics is None else keys.metrics
    commands = keys.score_command or {}
    if not metrics and not commands:
        raise values.error(("metrics",), "metrics is empty")
    for name in METRICS:
        if name in commands:
            raise values.error(
                ("score_command", name), f"{name} is sacreBLEU's; call yours otherwise"
            )
    own = {name: _WHY.get(name, "the workflow gives it itself") for name in _OWN_GENERATE}
    generate = values.flags("generate", keys.generate or "", own)
    return {"generate": generate, "metrics": metrics, "score_commands": commands}
