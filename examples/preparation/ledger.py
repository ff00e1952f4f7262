"""Stages that are done once: what they need, where they write, and what they left."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing

FILE = "prepare.json"


@dataclass(frozen=True)
class Stage:
    """Fills the folder of its name.

    Attributes:
        needs: stages whose folders it reads.
        work: writes into the folder that it is given; returns what ``prepare.json`` shall say.
    """

    name: str
    needs: tuple[str, ...]
    work: Callable[[Path], dict[str, Any]]


def by_name(*stages: Stage) -> dict[str, Stage]:
    """Return name -> stage."""
    return {stage.name: stage for stage in stages}


class Ledger:
    """``prepare.json`` of one folder: settings, versions, and the stages that are finished."""

    def __init__(self, out: Path, settings: dict[str, Any], versions: dict[str, str]) -> None:
        """Open the ledger of ``out``, or begin one.

        Raises:
            LotteryError: ``out`` was made with other settings, or holds something else.
        """
        self.out = out
        path = out / FILE
        if path.is_file():
            self.state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            there = self.state["settings"]
            other = sorted(k for k in {*there, *settings} if there.get(k) != settings.get(k))
            if other:
                raise LotteryError(
                    f"{out} was made with other settings"
                    f" ({', '.join(f'{k}: {there.get(k)}' for k in other)});"
                    " choose another --out, or remove that folder"
                )
        elif out.exists() and (out.is_file() or any(out.iterdir())):
            raise LotteryError(f"{out} is there and was not made here; choose another --out")
        else:
            out.mkdir(parents=True, exist_ok=True)
            self.state = {"settings": settings, "versions": versions, "stages": {}}
            self._write()
        self.versions = versions
        self._named: set[str] = set()

    def finished(self, stage: str) -> bool:
        """Whether a stage has ended and every file that it left has its length still."""
        files = self.state["stages"].get(stage, {}).get("files")
        return files is not None and all(
            (path := self.out / name).is_file() and path.stat().st_size == size
            for name, size in files.items()
        )

    def record(self, stage: str) -> dict[str, Any]:
        """What a finished stage said of itself."""
        found: dict[str, Any] = self.state["stages"][stage]["record"]
        return found

    def ensure(self, stages: dict[str, Stage], name: str) -> None:
        """Run a stage, and before it what it needs, unless it is finished.

        It writes beside its place and its folder is renamed at the end: a folder that has the
        name of a stage is whole.

        Raises:
            LotteryError: the stage's own, or a file could not be written.
        """
        if self.finished(name):
            if name not in self._named:
                print(f"{name}: finished already", flush=True)
                self._named.add(name)
            return
        stage = stages[name]
        for need in stage.needs:
            self.ensure(stages, need)
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        final, part = self.out / name, self.out / f"{name}.part"
        try:
            for leftover in (part, final):
                if leftover.exists():
                    shutil.rmtree(leftover)
            part.mkdir()
            record = stage.work(part)
            files = {
                f"{name}/{path.relative_to(part)}": path.stat().st_size
                for path in sorted(part.rglob("*"))
                if path.is_file()
            }
            part.replace(final)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise LotteryError(
                f"the stage {name} stopped: {error.strerror}{where}; make room in {self.out} and"
                " run the same command again, finished stages are kept"
            ) from error
        self.state["stages"][name] = {
            "record": record,
            "seconds": round(time.monotonic() - start, 1),
            "files": files,
        }
        self.state["versions"] = self.versions
        self._named.add(name)
        self._write()

    def _write(self) -> None:
        with replacing(self.out / FILE) as temporary:
            temporary.write_text(
                json.dumps(self.state, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
