"""How cells are evaluated: by translations where the task translates, else by validations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.workflow.reading.checked_values import Values, has_only
from fairseq_lottery.workflow.reading.configuration import Evaluation, Translation
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
#: sacreBLEU's
_METRICS = ("BLEU", "chrF", "TER")


def read_evaluations(values: Values, task: TaskAdapter, train: Flags) -> dict[str, Any]:
    """Take ``evaluate`` and the keys about translations.

    Args:
        train: flags of the training, which has to save what is evaluated.

    Returns:
        fields of a ``Configuration``.
    """
    if not task.translates:
        for name in _OF_TRANSLATIONS:
            _refuse_translating(values, task, (name,), name in values.left)
        return {
            "references": None,
            "evaluations": _read_list(values, task, train, Path()),
            "generate": Flags(),
            "metrics": (),
            "score_commands": {},
        }
    references = values.path(("references",), values.take("references", str, required=True))
    evaluations = _read_list(values, task, train, references)
    return {
        "references": references,
        "evaluations": evaluations,
        "generate": _generate(values),
        "metrics": _metrics(values),
        "score_commands": _score_commands(values),
    }


def _refuse_translating(values: Values, task: TaskAdapter, key: Key, is_there: bool) -> None:
    if is_there:
        raise values.lines.error(
            key,
            f"{key[-1]} requires a task that translates, and the task is {task.name}, whose cells"
            " are evaluated by validations; leave it out",
        )


def _read_list(
    values: Values, task: TaskAdapter, train: Flags, references: Path
) -> tuple[Evaluation, ...]:
    found: list[Evaluation] = []
    for number, item in enumerate(values.take("evaluate", list, [{}])):
        key: Key = ("evaluate", number)
        item = dict(values.typed(key, item, dict))
        checkpoint = values.typed((*key, "checkpoint"), item.pop("checkpoint", "best"), str)
        if not re.fullmatch(r"best|last|average:[1-9][0-9]{0,8}", checkpoint):
            raise values.lines.error(
                key, f"there is no checkpoint {checkpoint!r}; write best, last or average:5"
            )
        if task.translates:
            found.append(_translation(values, key, item, checkpoint, references))
        else:
            found.append(_validation(values, key, item, checkpoint, task, train.valid_subset))
        for name in item:
            raise values.lines.error((*key, name), f"there is no key {name!r} in evaluate")
    names = [evaluation.name for evaluation in found]
    for name in names:
        if names.count(name) > 1:
            raise values.lines.error(("evaluate",), f"evaluate has two entries called {name}")
    if not found:
        raise values.lines.error(("evaluate",), "evaluate is empty")
    for number, evaluation in enumerate(found):
        key, checkpoint = ("evaluate", number), evaluation.checkpoint
        validated = checkpoint == "best" or not task.translates
        if validated and "--disable-validation" in train:
            raise values.lines.error(
                key, f"{checkpoint} needs validations; train has --disable-validation"
            )
        _refuse_unsaved(values, key, checkpoint, train)
    return tuple(found)


def _translation(
    values: Values, key: Key, item: dict[str, Any], checkpoint: str, references: Path
) -> Translation:
    beam = values.typed((*key, "beam"), item.pop("beam", 5), int)
    lenpen = values.typed((*key, "lenpen"), item.pop("lenpen", 1.0), float)
    subset = values.typed((*key, "subset"), item.pop("subset", "test"), str)
    if not re.fullmatch(r"\w+", subset):
        raise values.lines.error(
            (*key, "subset"),
            f"{subset!r} is no subset; write one of fairseq-preprocess's, as test or test1",
        )
    own = item.pop("references", None)
    if own is not None:
        references = values.path(key, values.typed((*key, "references"), own, str))
    elif subset != "test":
        raise values.lines.error(
            (*key, "subset"), f"the subset {subset} needs references: of its own"
        )
    if beam < 1:
        raise values.lines.error((*key, "beam"), f"beam {beam} must be 1 or more")
    return Translation(checkpoint, subset, beam, lenpen, references)


def _validation(
    values: Values,
    key: Key,
    item: dict[str, Any],
    checkpoint: str,
    task: TaskAdapter,
    subset: str,
) -> Evaluation:
    """Take an entry that is evaluated by what fairseq noted of a checkpoint when it saved it."""
    for name in _OF_A_TRANSLATION:
        _refuse_translating(values, task, (*key, name), name in item)
    if checkpoint.startswith("average:"):
        raise values.lines.error(
            key, f"{checkpoint} has no validation of its own; write best or last"
        )
    return Evaluation(checkpoint, subset)


def _refuse_unsaved(values: Values, key: Key, checkpoint: str, train: Flags) -> None:
    """Refuse an average of more checkpoints than the training saves and keeps."""
    if not checkpoint.startswith("average:"):
        return
    count = int(checkpoint.split(":")[1])
    every = train.number("--save-interval-updates")
    if not every:
        raise values.lines.error(key, f"{checkpoint} needs --save-interval-updates in train")
    if count * every > values.updates:
        there = int(values.updates // every)
        raise values.lines.error(key, f"{checkpoint}: a training saves {there} checkpoints")
    kept = train.number("--keep-interval-updates")
    if kept is not None and 0 <= kept < count:
        raise values.lines.error(key, f"{checkpoint}: train keeps {kept:g} checkpoints")


def _generate(values: Values) -> Flags:
    own = {name: _WHY.get(name, "the workflow gives it itself") for name in _OWN_GENERATE}
    return values.flags("generate", own)


def _metrics(values: Values) -> tuple[str, ...]:
    given = values.take("metrics", list, list(_METRICS))
    key: Key = ("metrics",)
    if not given and not values.left.get("score_command"):
        raise values.lines.error(key, "metrics is empty")
    return tuple(values.choice((*key, n), value, _METRICS) for n, value in enumerate(given))


def _score_commands(values: Values) -> dict[str, str]:
    given = values.take("score_command", dict, {})
    key: Key = ("score_command",)
    for name, command in given.items():
        values.typed((*key, name), command, str)
        if name in _METRICS:
            raise values.lines.error((*key, name), f"{name} is sacreBLEU's; call yours otherwise")
        if not has_only(command, ("hypotheses", "references", "sources")):
            raise values.lines.error(
                (*key, name), "its places are {hypotheses}, {references} and {sources}"
            )
    return dict(given)
