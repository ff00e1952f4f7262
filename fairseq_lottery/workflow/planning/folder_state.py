"""The state of a workflow's folder: finished, pending and repeated stages."""

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
    """A finished training that must run again, and why."""

    stage: Stage
    why: str


@dataclass(frozen=True)
class Work:
    """The stages to run, in the order of the plan.

    Attributes:
        records: name of a finished stage -> its record.
        pending: all stages to run.
        remaining: pending training -> its remaining updates.
        repeated: pending stages that were finished before.
        repeats: the trainings among these, and trainings that finished with other flags.
    """

    records: dict[str, StageRecord]
    pending: tuple[Stage, ...]
    remaining: dict[str, int]
    repeated: tuple[Stage, ...]
    repeats: tuple[Repeat, ...]

    @property
    def updates(self) -> int:
        """Remaining updates of all pending trainings."""
        return sum(self.remaining.values())

    @property
    def repeated_updates(self) -> int:
        """Updates of all repeated trainings."""
        return sum(updates_of(repeat.stage) for repeat in self.repeats)


def updates_of(stage: Stage) -> int:
    """Return the number of updates of a training from its start."""
    return int(stage.facts["updates"]) - int(stage.facts["first_update"])


def read_record(out: Path, stage: Stage) -> Optional[StageRecord]:
    """Return the record of a stage; None unless it is finished with the stage's settings."""
    record = read_stage_record(out / stage.record)
    if record is None:
        return None
    then, now = record.settings, stage.facts.get("settings")
    if then is not None and now is not None and "sentences" not in then:
        # version 1 wrote records without the digests of test sets
        now = {name: value for name, value in now.items() if name != "sentences"}
    return record if then == now else None


def find_work(out: Path, stages: tuple[Stage, ...], wanted: Collection[str]) -> Work:
    """Return the stages to run; a deleted file counts only if a pending stage reads it.

    Args:
        wanted: folders of the trainings whose scores are requested. The analysis, which compares
            models, is requested with all of its models.
    """
    return _Search(out, stages).find(wanted)


class _Search:
    """Search from the requested scores to all stages that must run."""

    def __init__(self, out: Path, stages: tuple[Stage, ...]) -> None:
        self.out = out
        self.stages = stages
        self.maker = {file: stage for stage in stages for file in stage.leaves}
        records = {stage.name: read_record(out, stage) for stage in stages}
        self.done = {name: record for name, record in records.items() if record is not None}
        self.pending: set[str] = set()
        self.why: dict[str, str] = {}  # training -> why it must run again

    def find(self, wanted: Collection[str]) -> Work:
        """Return the stages to run; ``find_work`` describes the argument."""
        for stage in self.stages:
            if _is_wanted(stage, wanted) and stage.name not in self.done:
                self.run(stage)
        # a scored cell, too, must have the best checkpoint that the plan's flags select
        for stage in self.stages:
            has_best = stage.folder in wanted and "best" in stage.facts.get("models", ())
            if stage.kind == "train" and has_best and stage.name in self.done:
                self.repeat(stage, _selection_change(stage, self.done[stage.name]))
        self.repeat_evaluations()
        pending = tuple(stage for stage in self.stages if stage.name in self.pending)
        trained = [stage for stage in pending if stage.kind == "train"]
        repeats = [Repeat(s, self.why[s.name]) for s in trained if s.name in self.why]
        planned = {stage.folder for stage in self.stages}
        changed = (_changed(self.out, s, planned) for s in trained if s.name not in self.why)
        return Work(
            records=self.done,
            pending=pending,
            remaining={stage.name: self.remaining_updates(stage) for stage in trained},
            repeated=tuple(s for s in pending if s.name in self.done or s.name in self.why),
            repeats=(*repeats, *filter(None, changed)),
        )

    def run(self, stage: Stage) -> None:
        """Mark a stage and the stages that it needs as pending."""
        if stage.name in self.pending:
            return
        self.pending.add(stage.name)
        if stage.name not in self.done and stage.name not in self.why:
            reason = _missing_snapshot(self.out, stage)
            if reason:
                self.why[stage.name] = reason
        if stage.name not in self.why and saved_update(self.out, stage) > 0:
            return  # it resumes from its checkpoint and does not read its ticket
        for file in stage.needs:
            maker = self.maker[file]
            is_done, exists = maker.name in self.done, (self.out / file).exists()
            if is_done and exists:
                if file.endswith("/best.pt") and maker.kind == "train":
                    self.repeat(maker, _selection_change(maker, self.done[maker.name]))
                continue
            # a model can be written again from the training's checkpoints
            is_kept = exists or (file.endswith(".pt") and _has_last(self.out, maker))
            if not is_kept and (is_done or _has_ended(self.out, maker)):
                self.repeat(maker, f"{stage.name} requires {file}, which was not kept")
            self.run(maker)

    def repeat(self, stage: Stage, why: Optional[str]) -> None:
        """Run a stage from its start, which needs more files than resuming it."""
        if why and stage.name not in self.why:
            self.why[stage.name] = why
            self.pending.discard(stage.name)
            self.run(stage)

    def repeat_evaluations(self) -> None:
        """Mark the pruning, evaluation and analysis of repeated trainings as pending."""
        repeated = {s.folder for s in self.stages if s.kind == "train" and s.name in self.why}
        for stage in self.stages:
            needed = {Path(file).parent.as_posix() for file in stage.needs}
            if stage.kind == "close" and repeated & needed:
                repeated.add(stage.folder)
                self.pending.update({stage.name} & self.done.keys())
            evaluates = stage.kind in ("generate", "score") and stage.name in self.done
            if evaluates and Path(stage.folder).parent.as_posix() in repeated:
                self.pending.add(stage.name)
        written = {f for stage in self.stages if stage.name in self.pending for f in stage.leaves}
        for stage in self.stages:
            is_old = stage.kind == "analyze" and stage.name in self.done
            if is_old and written & set(stage.needs):
                self.pending.add(stage.name)

    def remaining_updates(self, stage: Stage) -> int:
        if stage.name in self.why:
            return updates_of(stage)
        done = saved_update(self.out, stage) - int(stage.facts["first_update"])
        return updates_of(stage) - max(0, done)


def _is_wanted(stage: Stage, wanted: Collection[str]) -> bool:
    if stage.kind == "analyze":
        models = (Path(file) for file in stage.needs if file.endswith(".pt"))
        return all(model.parent.as_posix() in wanted for model in models)
    return stage.kind == "score" and Path(stage.folder).parent.as_posix() in wanted


def saved_update(out: Path, stage: Stage) -> int:
    """Return the update of a training's last checkpoint; 0 if it has none."""
    if stage.kind != "train" or not _has_last(out, stage):
        return 0
    return min(last_saved(out / stage.log), int(stage.facts["updates"]))


def _has_ended(out: Path, stage: Stage) -> bool:
    """Return whether a training has completed all updates, so that only its models are missing."""
    return saved_update(out, stage) == stage.facts.get("updates")


def _has_last(out: Path, stage: Stage) -> bool:
    return (out / stage.folder / "checkpoint_last.pt").is_file()


def _missing_snapshot(out: Path, stage: Stage) -> Optional[str]:
    """Return why an interrupted training cannot resume: it has passed a snapshot's update."""
    if stage.kind != "train" or not _has_last(out, stage) or _has_ended(out, stage):
        return None
    saved = saved_update(out, stage)
    for file in stage.leaves:
        update = re.search(r"/snapshot_(\d+)\.", file)
        if update and int(update.group(1)) <= saved and not (out / file).exists():
            return f"{file} is missing, and the interrupted training is already at update {saved}"
    return None


def _selection_change(stage: Stage, record: StageRecord) -> Optional[str]:
    """Return why the flags of the plan would select another best checkpoint, or None."""
    then, now = record.selection, stage.facts["selection"]
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return (
                f"its best checkpoint was selected with {name} {then.get(name, 'not given')}, not"
                f" {now.get(name, 'not given')}"
            )
    return None


def needed_files(out: Path, stages: Sequence[Stage]) -> set[str]:
    """Return the files that unfinished stages read."""
    return {file for s in stages if read_record(out, s) is None for file in s.needs}


def _changed(out: Path, stage: Stage, planned: set[str]) -> Optional[Repeat]:
    """Return a finished training of the same label and seed with another recipe, or None."""
    now = parse(Content, stage.facts["content"])
    parent = (out / stage.folder).parent
    for path in sorted(parent.glob(f"{stage.facts['label']}-????????/train.json")):
        folder = path.parent.relative_to(out).as_posix()
        record = read_stage_record(path)
        if record is None or record.content is None or folder in planned:
            continue
        # techniques may share a label, but not the options of their draws
        if _draw(record.content) == _draw(now):
            difference = _difference(record.content, now)
            if difference:
                return Repeat(stage, f"finished as {folder}, but {difference}")
    return None


def _draw(content: Content) -> dict[str, Any]:
    """Return the options of a training's ticket without its sources."""
    axes = content.ticket or {}
    return {name: axis for name, axis in axes.items() if name not in ("mask_from", "start")}


def _difference(then: Content, now: Content) -> str:
    """Return what differs in the user's settings; changed parents report themselves."""
    before, after = then.flags or {}, now.flags or {}
    changes = [
        f"{name} was {before.get(name, 'not given')!r} and is {after.get(name, 'not given')!r}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if then.processes != now.processes:
        changes.append(f"processes were {then.processes} and are {now.processes}")
    if then.growth != now.growth:
        changes.append("the pruning schedule differs")
    return ", ".join(changes)
