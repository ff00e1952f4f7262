"""Stamps: how a second start knows what is finished, and what it was made by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fairseq_lottery.demo.stages import Stage
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing

FOLDER = "stamps"


def stamp_path(out: Path, stage: Stage) -> Path:
    """The file that exists once a stage is finished."""
    return out / FOLDER / f"{stage.name}.json"


def read_stamp(out: Path, stage: Stage) -> dict[str, Any]:
    """The command of a finished stage and the seconds it took."""
    stamp: dict[str, Any] = json.loads(stamp_path(out, stage).read_text(encoding="utf-8"))
    return stamp


def write_stamp(out: Path, stage: Stage, seconds: float) -> None:
    """Say that a stage is finished."""
    record = {"command": list(stage.command), "seconds": round(seconds, 1)}
    with replacing(stamp_path(out, stage)) as path:
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def finished_stages(out: Path, stages: tuple[Stage, ...]) -> set[str]:
    """Names of the stages that ran, with all they need, as they would run now.

    Raises:
        LotteryError: ``out`` holds something else, or was made by other commands.
    """
    if out.exists() and not (out / FOLDER).is_dir() and (out.is_file() or any(out.iterdir())):
        raise LotteryError(f"{out} is there and is no folder of this demo; choose another --out")
    finished: set[str] = set()
    for stage in stages:
        if not stamp_path(out, stage).is_file():
            continue
        if read_stamp(out, stage)["command"] != list(stage.command):
            raise LotteryError(
                f"{out} was made with another configuration (its stage {stage.name} ran another"
                " command); choose another --out, or delete that folder"
            )
        if finished.issuperset(stage.needs):
            finished.add(stage.name)
    return finished
