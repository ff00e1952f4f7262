"""What is finished on disk, what is still to do, and what would have to be done again."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.workflow.planning.folder_files import read_stage_record
from fairseq_lottery.workflow.planning.logs import last_saved
from fairseq_lottery.workflow.planning.stage import Stage


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
        return sum(_updates(repeat.stage) for repeat in self.repeats)


def _updates(stage: Stage) -> int:
    return int(stage.facts["updates"]) - _first(stage)


def _first(stage: Stage) -> int:
    return int(stage.facts["first_update"])


def read_record(out: Path, stage: Stage) -> Optional[dict[str, Any]]:
    """The record of a finished stage; None where it is not, or was finished with other settings."""
    record = read_stage_record(out / stage.record)
    if record is None:
        return None
    then, now = record.get("settings"), stage.facts.get("settings")
    if isinstance(then, dict) and isinstance(now, dict) and "sentences" not in then:
        # an older record, of when a folder had one test set for good
        now = {name: value for name, value in now.items() if name != "sentences"}
    return record if then == now else None


def find_work(out: Path, stages: tuple[Stage, ...], wanted: Collection[str]) -> Work:
    """Look which stages are finished; a file that was cleaned up is missed only where needed.

    Args:
        wanted: folders of the trainings whose scores are asked for.
    """
    maker = {file: stage for stage in stages for file in stage.leaves}
    done = {stage.name for stage in stages if read_record(out, stage) is not None}
    pending: set[str] = set()
    why: dict[str, str] = {}

    def run(stage: Stage) -> None:
        if stage.name in pending:
            return
        pending.add(stage.name)
        lost = _passed_snapshot(out, stage) if stage.name not in done else None
        if lost:
            why[stage.name] = lost
        if stage.name not in why and saved_update(out, stage) > 0:
            return  # it goes on from its checkpoint and opens no ticket
        for file in stage.needs:
            producer = maker[file]
            if producer.name not in done and not _has_ended(out, producer):
                run(producer)
            elif not (out / file).exists():
                # a model is chosen anew where the training's checkpoints were kept
                if not (file.endswith(".pt") and _last_is_there(out, producer)):
                    why[producer.name] = f"{file} is needed by {stage.name} and not kept"
                    pending.discard(producer.name)  # from its start it needs more
                run(producer)
            elif producer.name not in done:
                run(producer)
            elif file.endswith("/best.pt") and producer.kind == "train":
                other = _chosen_otherwise(out, producer)
                if other and producer.name not in why:
                    why[producer.name] = other
                    pending.discard(producer.name)
                    run(producer)

    # scores are what a workflow is for; everything else is made where they need it
    for stage in stages:
        asked = stage.kind == "score" and Path(stage.folder).parent.as_posix() in wanted
        if asked and stage.name not in done:
            run(stage)
    # a cell whose best weights were chosen otherwise is not that of the plan, scored or not
    for stage in stages:
        judged = stage.folder in wanted and "best" in stage.facts.get("models", ())
        if stage.kind == "train" and judged and stage.name in done and stage.name not in why:
            other = _chosen_otherwise(out, stage)
            if other:
                why[stage.name] = other
                pending.discard(stage.name)
                run(stage)
    # what was translated and scored is of weights that will be gone
    anew = {s.folder for s in stages if s.kind == "train" and s.name in why}
    for stage in stages:
        if stage.kind == "close" and anew & {Path(f).parent.as_posix() for f in stage.needs}:
            anew.add(stage.folder)
            pending.update({stage.name} & done)
        judges = stage.kind in ("generate", "score")
        if judges and stage.name in done and Path(stage.folder).parent.as_posix() in anew:
            pending.add(stage.name)
    todo = tuple(stage for stage in stages if stage.name in pending)
    repeats = [Repeat(s, why[s.name]) for s in todo if s.kind == "train" and s.name in why]
    known = {repeat.stage.name for repeat in repeats}
    planned = {stage.folder for stage in stages}
    again = tuple(s for s in todo if s.name in done or s.name in why)
    left = {
        s.name: _updates(s) - (0 if s.name in why else max(0, saved_update(out, s) - _first(s)))
        for s in todo
        if s.kind == "train"
    }
    return Work(todo, left, again, (*repeats, *_changed(out, todo, known, planned)))


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
    if not _last_is_there(out, stage) or stage.kind != "train" or _has_ended(out, stage):
        return None
    saved = saved_update(out, stage)
    for file in stage.leaves:
        update = re.search(r"/snapshot_(\d+)\.", file)
        if update and int(update.group(1)) <= saved and not (out / file).exists():
            return f"{file} is needed, and the interrupted training is at update {saved} already"
    return None


def _chosen_otherwise(out: Path, stage: Stage) -> Optional[str]:
    """Why the models of a finished training are not those that would be chosen now."""
    record = read_record(out, stage) or {}
    then, now = record.get("selection") or {}, stage.facts["selection"]
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return (
                f"its best checkpoint was chosen with {name} {then.get(name, 'not given')}, not"
                f" {now.get(name, 'not given')}"
            )
    return None


def still_needed(out: Path, stages: tuple[Stage, ...]) -> set[str]:
    """Files that stages which are not finished read."""
    return {file for s in stages if read_record(out, s) is None for file in s.needs}


def _changed(
    out: Path, todo: tuple[Stage, ...], known: set[str], planned: set[str]
) -> list[Repeat]:
    """Finished trainings of the same kind and seed whose recipe was another."""
    found: list[Repeat] = []
    for stage in todo:
        if stage.kind != "train" or stage.name in known:
            continue
        parent = (out / stage.folder).parent
        for record in sorted(parent.glob(f"{stage.facts['label']}-????????/train.json")):
            folder = record.parent.relative_to(out).as_posix()
            before = read_stage_record(record)
            if before is None or folder in planned or "content" not in before:
                continue
            if _draw(before["content"]) != _draw(stage.facts["content"]):
                continue  # of another technique whose trainings are called the same
            difference = _difference(before["content"], stage.facts["content"])
            if difference:
                found.append(Repeat(stage, f"finished as {folder}, but {difference}"))
                break
    return found


def _draw(content: dict[str, Any]) -> dict[str, Any]:
    """The axes of a training's ticket, whatever it is drawn from."""
    ticket = content.get("ticket") or {}
    return {name: axis for name, axis in ticket.items() if name not in ("mask_from", "start")}


def _difference(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What of the user's own differs; a parent that differs tells of itself."""
    flags_then = then.get("flags") or {}
    flags = [
        f"{name} was {flags_then.get(name, 'not given')!r}"
        f" and is {now['flags'].get(name, 'not given')!r}"
        for name in sorted({*flags_then, *now["flags"]})
        if flags_then.get(name) != now["flags"].get(name)
    ]
    if then.get("processes") != now.get("processes"):
        flags.append(f"processes were {then.get('processes')} and are {now['processes']}")
    if then.get("growth") != now.get("growth"):
        flags.append("the schedule of pruning is another")
    return ", ".join(flags)
