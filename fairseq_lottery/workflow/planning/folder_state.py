"""What is finished on disk, what is still to do, and what would have to be done again."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.records.plan import Stage
from fairseq_lottery.records.schema import parse
from fairseq_lottery.records.stage_records import Content, StageRecord, read_stage_record
from fairseq_lottery.workflow.planning.logs import last_saved


@dataclass(frozen=True)
class Repeat:
    """A finished training that has to run again, and why."""

    stage: Stage
    why: str


@dataclass(frozen=True)
class Work:
    """The stages to run, in the order of the plan.

    Attributes:
        left: training -> updates that it still has to do.
        again: those of them that have finished before.
        repeats: the trainings among these, and trainings that ran under other flags.
    """

    pending: tuple[Stage, ...]
    left: dict[str, int]
    again: tuple[Stage, ...]
    repeats: tuple[Repeat, ...]

    @property
    def updates(self) -> int:
        """Updates of all pending trainings."""
        return sum(self.left.values())

    @property
    def repeated_updates(self) -> int:
        """Updates of those that ran before."""
        return sum(updates_of(repeat.stage) for repeat in self.repeats)


def updates_of(stage: Stage) -> int:
    """Return how many updates a training does from its start."""
    return int(stage.facts["updates"]) - int(stage.facts["first_update"])


def read_record(out: Path, stage: Stage) -> Optional[StageRecord]:
    """The record of a finished stage; None where it is not, or was finished with other settings."""
    record = read_stage_record(out / stage.record)
    if record is None:
        return None
    then, now = record.settings, stage.facts.get("settings")
    if then is not None and now is not None and "sentences" not in then:
        # an older record, of when a folder had one test set for good
        now = {name: value for name, value in now.items() if name != "sentences"}
    return record if then == now else None


def find_work(out: Path, stages: tuple[Stage, ...], wanted: Collection[str]) -> Work:
    """Look which stages are finished; a file that was cleaned up is missed only where needed.

    Args:
        wanted: folders of the trainings whose scores are asked for.
    """
    return _Search(out, stages).find(wanted)


class _Search:
    """Follows what is asked for to what has to run."""

    def __init__(self, out: Path, stages: tuple[Stage, ...]) -> None:
        self.out = out
        self.stages = stages
        self.maker = {file: stage for stage in stages for file in stage.leaves}
        self.done = {stage.name for stage in stages if read_record(out, stage) is not None}
        self.pending: set[str] = set()
        self.why: dict[str, str] = {}  # training -> why it has to run again

    def find(self, wanted: Collection[str]) -> Work:
        # scores are what a workflow is for; everything else is made where they need it
        for stage in self.stages:
            asked = stage.kind == "score" and Path(stage.folder).parent.as_posix() in wanted
            if asked and stage.name not in self.done:
                self.run(stage)
        # a cell whose best weights were chosen otherwise is not that of the plan, scored or not
        for stage in self.stages:
            judged = stage.folder in wanted and "best" in stage.facts.get("models", ())
            if stage.kind == "train" and judged and stage.name in self.done:
                self.repeat(stage, _chosen_otherwise(self.out, stage))
        self.judge_again()
        todo = tuple(stage for stage in self.stages if stage.name in self.pending)
        trained = [stage for stage in todo if stage.kind == "train"]
        repeats = [Repeat(s, self.why[s.name]) for s in trained if s.name in self.why]
        planned = {stage.folder for stage in self.stages}
        changed = (_changed(self.out, s, planned) for s in trained if s.name not in self.why)
        return Work(
            pending=todo,
            left={stage.name: self.updates_left(stage) for stage in trained},
            again=tuple(s for s in todo if s.name in self.done or s.name in self.why),
            repeats=(*repeats, *filter(None, changed)),
        )

    def run(self, stage: Stage) -> None:
        """Run a stage, and what it needs."""
        if stage.name in self.pending:
            return
        self.pending.add(stage.name)
        if stage.name not in self.done and stage.name not in self.why:
            lost = _passed_snapshot(self.out, stage)
            if lost:
                self.why[stage.name] = lost
        if stage.name not in self.why and saved_update(self.out, stage) > 0:
            return  # it goes on from its checkpoint and opens no ticket
        for file in stage.needs:
            maker = self.maker[file]
            is_done, is_there = maker.name in self.done, (self.out / file).exists()
            if is_done and is_there:
                if file.endswith("/best.pt") and maker.kind == "train":
                    self.repeat(maker, _chosen_otherwise(self.out, maker))
                continue
            # a model is chosen anew where the training's checkpoints were kept
            is_kept = is_there or (file.endswith(".pt") and _last_is_there(self.out, maker))
            if not is_kept and (is_done or _has_ended(self.out, maker)):
                self.repeat(maker, f"{file} is needed by {stage.name} and not kept")
            self.run(maker)

    def repeat(self, stage: Stage, why: Optional[str]) -> None:
        """Run a stage from its start, where it needs more than where it goes on."""
        if why and stage.name not in self.why:
            self.why[stage.name] = why
            self.pending.discard(stage.name)
            self.run(stage)

    def judge_again(self) -> None:
        """What was pruned, translated and scored of weights that will be gone is done again."""
        anew = {s.folder for s in self.stages if s.kind == "train" and s.name in self.why}
        for stage in self.stages:
            if stage.kind == "close" and anew & {Path(f).parent.as_posix() for f in stage.needs}:
                anew.add(stage.folder)
                self.pending.update({stage.name} & self.done)
            judges = stage.kind in ("generate", "score") and stage.name in self.done
            if judges and Path(stage.folder).parent.as_posix() in anew:
                self.pending.add(stage.name)

    def updates_left(self, stage: Stage) -> int:
        if stage.name in self.why:
            return updates_of(stage)
        done = saved_update(self.out, stage) - int(stage.facts["first_update"])
        return updates_of(stage) - max(0, done)


def saved_update(out: Path, stage: Stage) -> int:
    """The update of the last checkpoint of a training; 0 where there is none."""
    if stage.kind != "train" or not _last_is_there(out, stage):
        return 0
    return min(last_saved(out / stage.log), int(stage.facts["updates"]))


def _has_ended(out: Path, stage: Stage) -> bool:
    """Whether a training has all its updates; only its models are to be chosen then."""
    return saved_update(out, stage) == stage.facts.get("updates")


def _last_is_there(out: Path, stage: Stage) -> bool:
    return (out / stage.folder / "checkpoint_last.pt").is_file()


def _passed_snapshot(out: Path, stage: Stage) -> Optional[str]:
    """Why a training that was interrupted cannot go on: a snapshot lies behind it."""
    if stage.kind != "train" or not _last_is_there(out, stage) or _has_ended(out, stage):
        return None
    saved = saved_update(out, stage)
    for file in stage.leaves:
        update = re.search(r"/snapshot_(\d+)\.", file)
        if update and int(update.group(1)) <= saved and not (out / file).exists():
            return f"{file} is needed, and the interrupted training is at update {saved} already"
    return None


def _chosen_otherwise(out: Path, stage: Stage) -> Optional[str]:
    """Why the models of a finished training are not those that would be chosen now."""
    record = read_record(out, stage)
    then, now = record.selection if record is not None else {}, stage.facts["selection"]
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return (
                f"its best checkpoint was chosen with {name} {then.get(name, 'not given')}, not"
                f" {now.get(name, 'not given')}"
            )
    return None


def still_needed(out: Path, stages: Sequence[Stage]) -> set[str]:
    """Files that stages which are not finished read."""
    return {file for s in stages if read_record(out, s) is None for file in s.needs}


def _changed(out: Path, stage: Stage, planned: set[str]) -> Optional[Repeat]:
    """A finished training of the same kind and seed whose recipe was another."""
    now = parse(Content, stage.facts["content"])
    parent = (out / stage.folder).parent
    for path in sorted(parent.glob(f"{stage.facts['label']}-????????/train.json")):
        folder = path.parent.relative_to(out).as_posix()
        record = read_stage_record(path)
        if record is None or record.content is None or folder in planned:
            continue
        # another draw is of a technique whose trainings are called the same
        if _draw(record.content) == _draw(now):
            difference = _difference(record.content, now)
            if difference:
                return Repeat(stage, f"finished as {folder}, but {difference}")
    return None


def _draw(content: Content) -> dict[str, Any]:
    """The axes of a training's ticket, whatever it is drawn from."""
    axes = content.ticket or {}
    return {name: axis for name, axis in axes.items() if name not in ("mask_from", "start")}


def _difference(then: Content, now: Content) -> str:
    """What of the user's own differs; a parent that differs tells of itself."""
    before, after = then.flags or {}, now.flags or {}
    found = [
        f"{name} was {before.get(name, 'not given')!r} and is {after.get(name, 'not given')!r}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if then.processes != now.processes:
        found.append(f"processes were {then.processes} and are {now.processes}")
    if then.growth != now.growth:
        found.append("the schedule of pruning is another")
    return ", ".join(found)
