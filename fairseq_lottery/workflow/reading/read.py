"""Reading a configuration: every key, checked line by line before anything starts."""

from __future__ import annotations

import re
import string
from functools import partial
from pathlib import Path
from typing import Any, Optional

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
from fairseq_lottery.pattern import Pattern
from fairseq_lottery.workflow.reading.configuration import Configuration, Evaluation, Resources
from fairseq_lottery.workflow.reading.lines import Key, Lines
from fairseq_lottery.workflow.reading.requests import read_requests
from fairseq_lottery.workflow.reading.values import Values
from fairseq_lottery.workflow.trainings.flags import Flags
from fairseq_lottery.workflow.trainings.techniques import load_own

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
#: flags of a translation that say what its row says
_OWN_GENERATE = frozenset(
    "--path --task --user-dir --gen-subset --beam --lenpen --results-path --cpu"
    " --required-batch-size-multiple --num-shards --shard-id --distributed-world-size"
    " --distributed-rank --skip-invalid-size-inputs-valid-test --truncate-source --quiet --nbest"
    " --score-reference --prefix-size".split()
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
    "--skip-invalid-size-inputs-valid-test": "no sentence is left out of a score",
    "--truncate-source": "no sentence is cut for a score",
    "--quiet": "the translations are what is scored",
    "--nbest": "a sentence is scored by one translation",
    **dict.fromkeys(("--score-reference", "--prefix-size"), "references are no translations"),
    **dict.fromkeys([one.flag_in(TRAINING) for one in options(Ranking, Prunable, place=WORKFLOW)],
                    "write it as a key of the configuration"),
}  # fmt: skip


def read_configuration(path: Path, out: Optional[Path] = None) -> Configuration:
    """Read and check a configuration; nothing but the file itself is looked at.

    Args:
        out: its folder, instead of the file's ``out``.

    Raises:
        LotteryError: one sentence with the line of what is wrong.
    """
    return _Reader(Lines(path)).read(out)


def _has_only(text: str, places: tuple[str, ...]) -> bool:
    """Whether a text has no places to be filled in but these, as they are: ``{name}``."""
    try:
        found = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        name is None or (name in places and not spec and conversion is None)
        for _, name, spec, conversion in found
    )


class _Reader(Values):
    """Takes every key of a configuration."""

    def read(self, out: Optional[Path]) -> Configuration:
        train = self.train()
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
            out=self.where(out),
            data=self.path(("data",), self.take("data", str, required=True)),
            references=self.path(("references",), self.take("references", str, required=True)),
            prepare=" ".join(self.take("prepare", str, "").split()),
            train=train,
            updates=self.updates,
            requests=read_requests(self),
            growth=growth,
            evaluations=self.evaluations(train),
            generate=self.generate(),
            metrics=self.metrics(),
            score_commands=self.score_commands(),
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

    def generate(self) -> Flags:
        own = {name: _WHY.get(name, "the workflow gives it itself") for name in _OWN_GENERATE}
        under = dict.fromkeys(("--beam", "--lenpen", "--gen-subset"), "write it under evaluate")
        return self.flags("generate", {**own, **under})

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

    def refuse_unchosen(self, key: Key, checkpoint: str, train: Flags) -> None:
        """A checkpoint that the flags of the training would never leave."""
        if checkpoint == "best" and "--disable-validation" in train:
            raise self.lines.error(key, "best needs validations; train has --disable-validation")
        if not checkpoint.startswith("average:"):
            return
        count = int(checkpoint.split(":")[1])
        every = train.number("--save-interval-updates")
        if not every:
            raise self.lines.error(key, f"{checkpoint} needs --save-interval-updates in train")
        if count * every > self.updates:
            there = int(self.updates // every)
            raise self.lines.error(key, f"{checkpoint}: a training saves {there} checkpoints")
        kept = train.number("--keep-interval-updates")
        if kept is not None and 0 <= kept < count:
            raise self.lines.error(key, f"{checkpoint}: train keeps {kept:g} checkpoints")

    def evaluations(self, train: Flags) -> tuple[Evaluation, ...]:
        found: list[Evaluation] = []
        for number, item in enumerate(self.take("evaluate", list, [{}])):
            key: Key = ("evaluate", number)
            item = dict(self.typed(key, item, dict))
            checkpoint = self.typed((*key, "checkpoint"), item.pop("checkpoint", "best"), str)
            if not re.fullmatch(r"best|last|average:[1-9][0-9]{0,8}", checkpoint):
                raise self.lines.error(
                    key, f"there is no checkpoint {checkpoint!r}; write best, last or average:5"
                )
            beam = self.typed((*key, "beam"), item.pop("beam", 5), int)
            lenpen = self.typed((*key, "lenpen"), item.pop("lenpen", 1.0), float)
            subset = self.typed((*key, "subset"), item.pop("subset", "test"), str)
            if not re.fullmatch(r"\w+", subset):
                raise self.lines.error(
                    (*key, "subset"),
                    f"{subset!r} is no subset; write one of fairseq-preprocess's, as test or test1",
                )
            references = item.pop("references", None)
            if references is not None:
                references = self.path(key, self.typed((*key, "references"), references, str))
            elif subset != "test":
                raise self.lines.error(
                    (*key, "subset"), f"the subset {subset} needs references: of its own"
                )
            if beam < 1:
                raise self.lines.error((*key, "beam"), f"beam {beam} must be 1 or more")
            for name in item:
                raise self.lines.error((*key, name), f"there is no key {name!r} in evaluate")
            found.append(Evaluation(checkpoint, beam, lenpen, subset, references))
        names = [evaluation.name for evaluation in found]
        for name in names:
            if names.count(name) > 1:
                raise self.lines.error(("evaluate",), f"evaluate has two entries called {name}")
        if not found:
            raise self.lines.error(("evaluate",), "evaluate is empty")
        for number, evaluation in enumerate(found):
            self.refuse_unchosen(("evaluate", number), evaluation.checkpoint, train)
        return tuple(found)

    def metrics(self) -> tuple[str, ...]:
        given = self.take("metrics", list, ["BLEU", "chrF", "TER"])
        key: Key = ("metrics",)
        if not given and not self.left.get("score_command"):
            raise self.lines.error(key, "metrics is empty")
        return tuple(
            self.choice((*key, n), value, ("BLEU", "chrF", "TER")) for n, value in enumerate(given)
        )

    def score_commands(self) -> dict[str, str]:
        given = self.take("score_command", dict, {})
        key: Key = ("score_command",)
        for name, command in given.items():
            self.typed((*key, name), command, str)
            if name in ("BLEU", "chrF", "TER"):
                raise self.lines.error((*key, name), f"{name} is sacreBLEU's; call yours otherwise")
            if not _has_only(command, ("hypotheses", "references", "sources")):
                raise self.lines.error(
                    (*key, name), "its places are {hypotheses}, {references} and {sources}"
                )
        return dict(given)

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
        if not _has_only(path, ("seed",)):
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
