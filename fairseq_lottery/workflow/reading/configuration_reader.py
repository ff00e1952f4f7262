"""Reading a configuration: every key, checked line by line before anything starts."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import ADAPTERS, TRANSLATION, TaskAdapter
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
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.reading.checked_values import Values, has_only
from fairseq_lottery.workflow.reading.configuration import Configuration, Resources
from fairseq_lottery.workflow.reading.evaluations import read_evaluations
from fairseq_lottery.workflow.reading.technique_requests import read_requests
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
    return _Reader(Lines(path)).read(out)


class _Reader(Values):
    """Takes every key of a configuration."""

    def read(self, out: Optional[Path]) -> Configuration:
        train = self.train()
        task = self.task()
        own = self.take("own_techniques", str)
        if own:
            try:
                load_own(self.path(("own_techniques",), own))
            except LotteryError as error:
                raise self.lines.error(("own_techniques",), str(error)) from error
        growth = self.growth()
        found = Configuration(
            source=self.lines,
            title=" ".join(self.take("title", str, self.lines.path.stem).split()),
            task=task,
            out=self.where(out),
            data=self.path(("data",), self.take("data", str, required=True)),
            prepare=" ".join(self.take("prepare", str, "").split()),
            train=train,
            updates=self.updates,
            requests=read_requests(self),
            growth=growth,
            **read_evaluations(self, task, train),
            resources=self.resources(),
            train_env=self.take("train_env", str, ""),
            keep=self.keep(),
            adopt=self.adopt(),
            published=self.take("published", str),
            cost=self.cost(),
            retries=self.retries(),
            engine=tuple(map(str, self.take("engine", list, []))),
        )
        for name in self.left:
            raise self.lines.error((name,), f"there is no key {name!r} in a configuration")
        if found.data in (found.out, *found.out.parents):
            raise self.lines.error(
                ("out",), f"the folder {found.out} lies in the data; give another --out"
            )
        if found.adopt and len(found.seeds) > 1 and "{seed}" not in found.adopt:
            raise self.lines.error(
                ("adopt",), "with several seeds the adopted folder must name its {seed}"
            )
        return found

    def where(self, out: Optional[Path]) -> Path:
        """The command line's folder, the file's, or ``runs/`` and the file's name beside it."""
        given = self.take("out", str, f"runs/{self.lines.path.stem}")
        return out.resolve() if out else self.path(("out",), given)

    def task(self) -> TaskAdapter:
        """Take the task, one that has an adapter."""
        name = self.take("task", str, TRANSLATION.name)
        return ADAPTERS[self.choice(("task",), name, ADAPTERS)]

    def train(self) -> Flags:
        own = {name: _WHY.get(name, "the workflow gives it itself") for name in _OWN}
        flags = self.flags("train", own, required=True)

        def refuse(message: str, near: str = "") -> LotteryError:
            return self.lines.error(("train",), message, near)

        updates = flags.get("--max-update")
        if not re.fullmatch(r"0*[1-9][0-9]{0,14}", updates or ""):
            raise refuse("train: --max-update N is needed; every schedule counts updates")
        optimizer = flags.get("--optimizer", "")
        if not str(optimizer).startswith("masked_"):
            raise refuse(
                f"train: --optimizer {optimizer} does not keep pruned weights at zero; write"
                f" --optimizer masked_{optimizer or 'adam'}",
                "--optimizer",
            )
        self.updates = int(str(updates))
        for name in ("--save-interval-updates", "--keep-interval-updates"):
            try:
                flags.number(name)
            except LotteryError as error:
                raise refuse(f"train: {error}", name) from error
        return flags

    def growth(self) -> dict[str, Any]:
        """Take the schedule of magnitude pruning, and what ranks weights and where."""
        key: Key = ("prune",)
        given = dict(self.take("prune", dict, {}))
        schedule: dict[str, Any] = {}
        for one in options(Schedule, place=WORKFLOW):
            value = given.pop(one.name, one.default_in(WORKFLOW))
            take = self.update if one.axis is None else partial(self.named, one.axis)
            schedule[one.name] = take((*key, one.name), value)
        for name in given:
            raise self.lines.error((*key, name), f"there is no key {name!r} in prune")
        start, end = schedule["start"], schedule["end"]
        if start > end or (start == end and schedule["schedule"] != "one-shot"):
            raise self.lines.error(key, f"prune starts at update {start} and ends at {end}")
        schedule["every"] = max(1, schedule["every"])
        ranking = {one.name: self.option(one) for one in options(Ranking, Prunable, place=WORKFLOW)}
        self.pattern = Pattern.parse(ranking["scope"])
        try:
            check_scope(**{one.name: ranking[one.name] for one in options(Scope)})
        except LotteryError as error:
            raise self.lines.error(("min_density",), str(error)) from error
        return {**schedule, **ranking}

    def option(self, one: Option) -> Any:
        """Take the value of an option that is a key of the file's top."""
        name = one.name_in(WORKFLOW)
        if one.axis is not None:
            # as it is written: YAML takes the scope 2:4 for a number
            given = self.left.pop(name, one.default)
            return self.named(one.axis, (name,), self.lines.written((name,)) or given)
        value = self.take(name, one.kind, one.default)
        if one.is_regex and value is not None:
            try:
                re.compile(value)
            except (re.error, OverflowError, RecursionError) as error:
                message = f"{name} is no regular expression: {error}"
                raise self.lines.error((name,), message) from error
        return value

    def resources(self) -> Resources:
        key: Key = ("resources",)
        given = dict(self.take("resources", dict, {}))
        values: dict[str, Any] = {}
        for name, least in (("gpus", 0), ("processes", 1), ("nodes", 1), ("threads", 1)):
            if name in given:
                value = self.typed((*key, name), given.pop(name), int)
                if value < least:
                    raise self.lines.error((*key, name), f"{name} {value} must be {least} or more")
                values[name] = value
        for name in ("train", "other"):
            values[name] = self.typed((*key, name), given.pop(name, {}), dict)
            minutes = values[name].get("runtime", 1)
            self.typed((*key, name, "runtime"), minutes, int)
        for name in given:
            raise self.lines.error(
                (*key, name),
                f"there is no key {name!r} in resources; what is for the scheduler belongs into"
                " train: or other:",
            )
        gpus = values.get("gpus", 1)
        if gpus:
            if values.setdefault("processes", gpus) != gpus:
                raise self.lines.error(
                    (*key, "processes"), f"{gpus} GPUs take one process each; leave processes out"
                )
        return Resources(**values)

    def retries(self) -> int:
        retries: int = self.take("retries", int, 2)
        if retries < 0:
            raise self.lines.error(("retries",), f"retries {retries} must be 0 or more")
        return retries

    def keep(self) -> tuple[str, ...]:
        given = self.take("keep", list, [])
        return tuple(
            self.choice(("keep", n), value, ("checkpoints", "snapshots", "tickets"))
            for n, value in enumerate(given)
        )

    def adopt(self) -> Optional[str]:
        given = self.take("adopt", dict, {})
        for name in given:
            if name != "dense":
                raise self.lines.error(("adopt", name), "only the dense run can be adopted")
        folder = given.get("dense")
        if folder is None:
            return None
        key: Key = ("adopt", "dense")
        path = str(self.path(key, self.typed(key, folder, str)))
        if not has_only(path, ("seed",)):
            raise self.lines.error(key, "the only place in an adopted folder is {seed}")
        return path

    def cost(self) -> dict[str, float]:
        given = self.take("cost", dict, {})
        key: Key = ("cost",)
        for name in given:
            self.choice((*key, name), name, ("seconds_per_update", "parameters"))
            if self.typed((*key, name), given[name], float) <= 0:
                raise self.lines.error((*key, name), f"{name} must be positive")
        return {name: float(value) for name, value in given.items()}
