"""Read a configuration, and validate every key before anything starts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import ADAPTERS, TaskAdapter
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import model_file
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
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.workflow.reading.checked_values import Values
from fairseq_lottery.workflow.reading.configuration import Configuration
from fairseq_lottery.workflow.reading.data_sets import split_data_sets
from fairseq_lottery.workflow.reading.evaluations import read_evaluations
from fairseq_lottery.workflow.reading.file_keys import FileKeys
from fairseq_lottery.workflow.reading.technique_requests import SETTINGS, read_requests
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.techniques import load_own
from fairseq_lottery.workflow.trainings.train_flags import Flags

#: flag of a training that the workflow sets -> advice
_WORKFLOW_FLAGS = {
    **dict.fromkeys(
        "--save-dir --seed --user-dir --restore-file --finetune-from-model --continue-once"
        " --reset-optimizer --reset-dataloader --reset-meters --reset-lr-scheduler"
        " --snapshot-updates --ticket --distributed-world-size --distributed-rank"
        " --distributed-init-method --distributed-no-spawn --distributed-port --device-id".split(),
        "the workflow sets it",
    ),
    **dict.fromkeys(
        ("--max-epoch", "--patience", "--stop-time-hours", "--stop-min-lr"),
        "a training would end before its schedule; give --max-update",
    ),
    **dict.fromkeys(
        ("--no-save", "--no-last-checkpoints", "--no-save-optimizer-state"),
        "a killed training could not resume",
    ),
    "--pair-masks": "write the technique pair-masks instead",
    "--checkpoint-suffix": "a killed training resumes from the file checkpoint_last.pt",
    "--cpu": "write resources: {gpus: 0} instead",
    "--task": "write the key task: NAME of the configuration instead",
}
for _groups, _advice in (
    ((Sources, Reset, Seed, Schedule), "the workflow sets it"),
    ((Ranking, Prunable), "write the key of the configuration instead"),
    ((Pruning,), "the workflow always prunes with the pruner gradual"),
):
    for _member in options(*_groups, place=TRAINING):
        _WORKFLOW_FLAGS[_member.flag_in(TRAINING)] = _advice


def read_configuration(path: Path, out: Optional[Path] = None) -> Configuration:
    """Read and validate a configuration without reading any other file.

    Args:
        out: output folder, which overrides ``out`` of the file.

    Raises:
        LotteryError: a value is invalid; the message names its line.
    """
    sets = split_data_sets(Lines(path))
    configurations = []
    for name, lines in sets:
        values = Values(lines)
        values.data_names = tuple(name for name, _ in sets if name)
        configurations.append(replace(_read_data_set(values, path, out), data_name=name))
    first, *others = configurations
    return replace(first, others=tuple(others))


def _read_data_set(values: Values, path: Path, out: Optional[Path]) -> Configuration:
    """Return the configuration of one data set."""
    settings = dict(values.lines.values)
    ranking = {
        option.name_in(WORKFLOW): settings.pop(option.name_in(WORKFLOW), None)
        for option in options(Ranking, Prunable, place=WORKFLOW)
    }
    common = {name: settings.pop(name) for name in SETTINGS if name in settings}
    if settings.get("pretrained") is not None:
        common.setdefault("rewind", 0)
    resources = settings.get("resources")
    if isinstance(resources, dict) and resources.get("gpus", 1):
        settings["resources"] = {"processes": resources.get("gpus", 1), **resources}
    for name in settings:
        if name not in FileKeys.__dataclass_fields__:
            raise values.error((name,), f"key {name!r} is unknown; docs/workflow.md lists all keys")
    keys = values.parse((), settings, FileKeys)
    train = _train(values, keys)
    if keys.own_techniques:
        try:
            load_own(values.read_path(("own_techniques",), keys.own_techniques))
        except LotteryError as error:
            raise values.error(("own_techniques",), str(error)) from error
    task = ADAPTERS[keys.task]
    data = values.read_path(("data",), keys.data)
    folder = out.resolve() if out else values.read_path(("out",), keys.out or f"runs/{path.stem}")
    if data in (folder, *folder.parents):
        raise values.error(("out",), f"{folder} is inside the data folder; give another --out")
    if keys.resources.gpus and keys.resources.processes != keys.resources.gpus:
        raise values.error(
            ("resources", "processes"),
            f"resources.processes is {keys.resources.processes}, expected {keys.resources.gpus},"
            " one for each GPU; omit it",
        )
    configuration = Configuration(
        source=values.lines,
        title=" ".join((keys.title or path.stem).split()),
        task=task,
        out=folder,
        data=data,
        prepare=" ".join(keys.prepare.split()),
        train=train,
        updates=values.updates,
        pruning={**_read_schedule(values, keys.prune), **_read_ranking(values, ranking)},
        requests=read_requests(values, keys.techniques, common),
        **read_evaluations(values, keys, task, train),
        resources=keys.resources,
        train_env=keys.train_env,
        keep=keys.keep,
        adopt=str(values.read_path(("adopt", "dense"), keys.adopt.dense)) if keys.adopt else None,
        pretrained=_read_pretrained(values, keys.pretrained),
        published=keys.published,
        cost={name: value for name, value in vars(keys.cost).items() if value is not None},
        retries=keys.retries,
        engine=tuple(map(str, keys.engine)),
        analysis=_read_analysis(values, keys, task),
    )
    seeds, adopt = configuration.seeds, configuration.adopt
    if adopt and keys.pretrained:
        raise values.error(
            ("adopt",), "adopt and pretrained exclude each other; adopted runs start elsewhere"
        )
    if adopt and len(seeds) > 1 and "{seed}" not in adopt:
        raise values.error(
            ("adopt",), f"adopt.dense lacks {{seed}}, and there are {len(seeds)} seeds; add it"
        )
    if configuration.analysis is not None:
        names = [DENSE, *(request.name for request in configuration.requests)]
        if configuration.analysis.against not in names:
            raise values.error(
                ("analyze", "against"),
                f"analyze.against {configuration.analysis.against} is not a technique of this file;"
                f" choose one of {', '.join(names)}",
            )
    return configuration


def _read_pretrained(values: Values, name: Optional[str]) -> Optional[Path]:
    """Return the file of pre-trained weights, which may be in a released archive's folder."""
    return None if name is None else Path(model_file(values.read_path(("pretrained",), name)))


def _read_analysis(values: Values, keys: FileKeys, task: TaskAdapter) -> Optional[Settings]:
    """Return the settings of an analysis, with absolute paths of labels."""
    settings = keys.analyze
    if settings is None:
        return None
    if not task.translates and not task.is_encoder:
        raise values.error(
            ("analyze",), f"analyze requires a translation model or an encoder, unlike {task.name}"
        )
    labels = {
        name: str(values.read_path(("analyze", "labels", name), file))
        for name, file in settings.labels.items()
    }
    return replace(settings, labels=labels)


def _train(values: Values, keys: FileKeys) -> Flags:
    flags = values.read_flags("train", keys.train, _WORKFLOW_FLAGS)
    updates = flags.get("--max-update") or ""
    if not re.fullmatch(r"0*[1-9][0-9]{0,14}", updates):
        message = f"train: --max-update is {updates or 'missing'}, expected an integer from 1"
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


def _read_schedule(values: Values, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the pruning schedule: start, end, interval and shape."""
    key: Key = ("prune",)
    known = {option.name: option for option in options(Schedule, place=WORKFLOW)}
    for name in settings:
        if name not in known:
            choices = ", ".join(known)
            raise values.error((*key, name), f"prune.{name} is unknown; choose one of {choices}")
    schedule: dict[str, Any] = {}
    for name, option in known.items():
        place, value = (*key, name), settings.get(name, option.default_in(WORKFLOW))
        if option.axis is not None:
            schedule[name] = values.read_name(place, option.axis, value)
        else:
            schedule[name] = values.read_update(place, value)
    start, end = schedule["start"], schedule["end"]
    if start > end or (start == end and schedule["schedule"] != "one-shot"):
        raise values.error(key, f"prune starts at update {start}, expected before its end, {end}")
    return {**schedule, "every": max(1, schedule["every"])}


def _read_ranking(values: Values, settings: dict[str, Any]) -> dict[str, Any]:
    """Return score, scope and prunable set."""
    ranking = {
        option.name: _option(values, option, settings[option.name_in(WORKFLOW)])
        for option in options(Ranking, Prunable, place=WORKFLOW)
    }
    values.pattern = Pattern.parse(ranking["scope"])
    try:
        check_scope(**{option.name: ranking[option.name] for option in options(Scope)})
    except LotteryError as error:
        raise values.error(("min_density",), str(error)) from error
    return ranking


def _option(values: Values, option: Option, setting: Any) -> Any:
    key: Key = (option.name_in(WORKFLOW),)
    if setting is None:
        return option.default
    if option.axis is not None:
        return values.read_name(key, option.axis, setting)
    value: Any = values.parse(key, setting, option.kind)
    if option.is_regex:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise values.error(key, f"{key[0]} is not a regular expression: {error}") from error
    return value
