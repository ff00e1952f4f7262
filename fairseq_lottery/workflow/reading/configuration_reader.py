"""Reading a configuration: every key, checked line by line before anything starts."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import ADAPTERS
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import (
    TRAINING,
    WORKFLOW,
    Option,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Schedule,
    Scope,
    Seed,
    Sources,
    check_scope,
    options,
)
from fairseq_lottery.options.axes import Axis
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.reading.evaluations import read_evaluations
from fairseq_lottery.workflow.reading.file_keys import FileKeys
from fairseq_lottery.workflow.reading.technique_requests import SETTINGS, read_requests
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.techniques import load_own
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: flags of a training that the workflow gives itself
_OWN = frozenset(
    "--save-dir --seed --user-dir --task --restore-file --finetune-from-model --continue-once"
    " --reset-optimizer --reset-dataloader --reset-meters --reset-lr-scheduler"
    " --snapshot-updates --ticket"
    " --distributed-world-size --distributed-rank --distributed-init-method"
    " --distributed-no-spawn --distributed-port --device-id --max-epoch --patience"
    " --stop-time-hours --stop-min-lr --no-save --no-last-checkpoints --cpu"
    " --no-save-optimizer-state --checkpoint-suffix".split()
).union(
    one.flag_in(TRAINING)
    for one in options(Sources, Ranking, Prunable, Reset, Seed, Schedule, Pruning, place=TRAINING)
)
_WHY = {
    "--max-epoch": "a training would end before its schedule; give --max-update",
    "--patience": "a training would end before its schedule; give --max-update",
    "--stop-time-hours": "a training would end before its schedule; give --max-update",
    "--stop-min-lr": "a training would end before its schedule; give --max-update",
    "--no-save": "a killed training could not go on",
    "--no-last-checkpoints": "a killed training could not go on",
    "--no-save-optimizer-state": "a killed training could not go on",
    "--checkpoint-suffix": "a killed training goes on from checkpoint_last.pt, by this name",
    "--cpu": "write resources: {gpus: 0}",
    "--task": "write task: NAME as a key of the configuration",
    **dict.fromkeys([one.flag_in(TRAINING) for one in options(Ranking, Prunable, place=WORKFLOW)],
                    "write it as a key of the configuration"),
    **dict.fromkeys([one.flag_in(TRAINING) for one in options(Pruning)],
                    "magnitude pruning of the workflow is by the pruner gradual"),
}  # fmt: skip


def read_configuration(path: Path, out: Optional[Path] = None) -> Configuration:
    """Read and check a configuration; nothing but the file itself is looked at.

    Args:
        out: its folder, instead of the file's ``out``.

    Raises:
        LotteryError: one sentence with the line of what is wrong.
    """
    values = Values(Lines(path))
    settings = dict(values.lines.values)
    own = {
        one.name_in(WORKFLOW): settings.pop(one.name_in(WORKFLOW), None)
        for one in options(Ranking, Prunable, place=WORKFLOW)
    }
    whole = {name: settings.pop(name) for name in SETTINGS if name in settings}
    resources = settings.get("resources")
    if isinstance(resources, dict) and resources.get("gpus", 1):
        settings["resources"] = {"processes": resources.get("gpus", 1), **resources}
    for name in settings:
        if name not in FileKeys.__dataclass_fields__:
            raise values.error((name,), f"there is no key {name!r} in a configuration")
    keys = values.parsed((), settings, FileKeys)
    train = _train(values, keys)
    if keys.own_techniques:
        try:
            load_own(values.path(("own_techniques",), keys.own_techniques))
        except LotteryError as error:
            raise values.error(("own_techniques",), str(error)) from error
    task = ADAPTERS[keys.task]
    data, folder = values.path(("data",), keys.data), _folder(values, keys, out)
    if data in (folder, *folder.parents):
        raise values.error(("out",), f"the folder {folder} lies in the data; give another --out")
    if keys.resources.gpus and keys.resources.processes != keys.resources.gpus:
        raise values.error(
            ("resources", "processes"),
            f"{keys.resources.gpus} GPUs take one process each; leave processes out",
        )
    found = Configuration(
        source=values.lines,
        title=" ".join((keys.title or path.stem).split()),
        task=task,
        out=folder,
        data=data,
        prepare=" ".join(keys.prepare.split()),
        train=train,
        updates=values.updates,
        pruning={**_schedule(values, keys.prune), **_ranking(values, own)},
        requests=read_requests(values, keys.techniques, whole),
        **read_evaluations(values, keys, task, train),
        resources=keys.resources,
        train_env=keys.train_env,
        keep=keys.keep,
        adopt=str(values.path(("adopt", "dense"), keys.adopt.dense)) if keys.adopt else None,
        published=keys.published,
        cost={name: value for name, value in vars(keys.cost).items() if value is not None},
        retries=keys.retries,
        engine=tuple(map(str, keys.engine)),
    )
    if found.adopt and len(found.seeds) > 1 and "{seed}" not in found.adopt:
        raise values.error(("adopt",), "with several seeds the adopted folder must name its {seed}")
    return found


def _folder(values: Values, keys: FileKeys, out: Optional[Path]) -> Path:
    """The command line's folder, the file's, or ``runs/`` and the file's name beside it."""
    return (
        out.resolve()
        if out
        else values.path(("out",), keys.out or f"runs/{values.lines.path.stem}")
    )


def _train(values: Values, keys: FileKeys) -> Flags:
    flags = values.flags(
        "train", keys.train, {name: _WHY.get(name, "the workflow gives it itself") for name in _OWN}
    )
    updates = flags.get("--max-update") or ""
    if not re.fullmatch(r"0*[1-9][0-9]{0,14}", updates):
        message = "train: --max-update N is needed; every schedule counts updates"
        raise values.error(("train",), message)
    optimizer = flags.get("--optimizer", "")
    if not str(optimizer).startswith("masked_"):
        raise values.error(
            ("train",),
            f"train: --optimizer {optimizer} does not keep pruned weights at zero; write"
            f" --optimizer masked_{optimizer or 'adam'}",
            "--optimizer",
        )
    for name in ("--save-interval-updates", "--keep-interval-updates"):
        try:
            flags.number(name)
        except LotteryError as error:
            raise values.error(("train",), f"train: {error}", name) from error
    values.updates = int(updates)
    return flags


def _schedule(values: Values, given: dict[str, Any]) -> dict[str, Any]:
    """The schedule of magnitude pruning: start, end, step and shape."""
    key: Key = ("prune",)
    known = {one.name: one for one in options(Schedule, place=WORKFLOW)}
    for name in given:
        if name not in known:
            raise values.error((*key, name), f"there is no key {name!r} in prune")
    found: dict[str, Any] = {}
    for name, one in known.items():
        take = values.update if one.axis is None else partial(_named, values, one.axis)
        found[name] = take((*key, name), given.get(name, one.default_in(WORKFLOW)))
    start, end = found["start"], found["end"]
    if start > end or (start == end and found["schedule"] != "one-shot"):
        raise values.error(key, f"prune starts at update {start} and ends at {end}")
    return {**found, "every": max(1, found["every"])}


def _ranking(values: Values, given: dict[str, Any]) -> dict[str, Any]:
    """What ranks weights, and which weights may be pruned."""
    found = {
        one.name: _option(values, one, given[one.name_in(WORKFLOW)])
        for one in options(Ranking, Prunable, place=WORKFLOW)
    }
    values.pattern = Pattern.parse(found["scope"])
    try:
        check_scope(**{one.name: found[one.name] for one in options(Scope)})
    except LotteryError as error:
        raise values.error(("min_density",), str(error)) from error
    return found


def _named(values: Values, axis: Axis, key: Key, value: Any) -> str:
    """A name of an axis, or what else it takes."""
    try:
        axis.refuse_unknown(value)
    except LotteryError as error:
        raise values.error(key, str(error)) from error
    return str(value)


def _option(values: Values, one: Option, given: Any) -> Any:
    key: Key = (one.name_in(WORKFLOW),)
    if given is None:
        return one.default
    if one.axis is not None:
        # as it is written: YAML takes the scope 2:4 for a number
        return _named(values, one.axis, key, values.lines.written(key) or given)
    value: Any = values.parsed(key, given, one.kind)
    if one.is_regex:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise values.error(key, f"{key[0]} is no regular expression: {error}") from error
    return value
