"""Running stages: as many at once as asked, each once, and a failed one named in a sentence."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import fairseq_lottery
from fairseq_lottery.demo import stamps
from fairseq_lottery.demo.board import Board
from fairseq_lottery.demo.stages import Stage
from fairseq_lottery.errors import LotteryError


@dataclass
class Job:
    """A stage that was started."""

    stage: Stage
    process: subprocess.Popen[bytes]
    begin: float


def run_stages(out: Path, stages: tuple[Stage, ...], jobs: int, board: Board) -> None:
    """Run what is not finished yet, at most ``jobs`` stages at a time.

    Raises:
        LotteryError: ``out`` is not this demo's or of another configuration, or a stage failed.
    """
    finished = stamps.finished_stages(out, stages)
    _make_folders(out)
    for stage in stages:
        if stage.name in finished:
            board.skip(stage)
    waiting = [stage for stage in stages if stage.name not in finished]
    running: list[Job] = []
    try:
        while waiting or running:
            ready = [stage for stage in waiting if finished.issuperset(stage.needs)]
            for stage in ready[: jobs - len(running)]:
                waiting.remove(stage)
                running.append(_start(out, stage))
                board.start(stage)
            time.sleep(0.2)
            for job in list(running):
                if job.process.poll() is None:
                    board.advance(job.stage, updates_so_far(out / job.stage.log))
                    continue
                running.remove(job)
                seconds = time.monotonic() - job.begin
                refuse_failed(out, job.stage, job.process.returncode)
                stamps.write_stamp(out, job.stage, seconds)
                finished.add(job.stage.name)
                board.finish(job.stage, seconds)
    finally:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()


def refuse_failed(out: Path, stage: Stage, code: int) -> None:
    """Judge an ended stage by what it left, then by its exit code.

    Raises:
        LotteryError: it failed; the sentence has the end of its log.
    """
    file, words = stage.proof
    # torch now and then aborts while the interpreter leaves, after all work is done
    if code in (0, -signal.SIGABRT) and words in tail(out / file):
        return
    last = " / ".join(line[:200] for line in tail(out / stage.log).strip().splitlines()[-3:])
    raise LotteryError(
        f"the stage {stage.name} failed with exit code {code}; its log {out / stage.log} ends"
        f" with: {last}"
    )


def updates_so_far(log: Path) -> int:
    """The last update that a training's log tells of."""
    found = re.findall(r"num_updates=(\d+)", tail(log))
    return int(found[-1]) if found else 0


def tail(path: Path, size: int = 4000) -> str:
    """The end of a text file, empty where there is no file."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode("utf-8", errors="replace")


def _make_folders(out: Path) -> None:
    try:
        for folder in (stamps.FOLDER, "logs"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LotteryError(
            f"{out} cannot be made ({error.strerror}); choose another --out"
        ) from error


def _start(out: Path, stage: Stage) -> Job:
    shutil.rmtree(out / stage.folder, ignore_errors=True)  # what an interrupted start left
    stamps.stamp_path(out, stage).unlink(missing_ok=True)
    with open(out / stage.log, "wb") as log:
        process = subprocess.Popen(
            stage.command, cwd=out, env=_environment(), stdout=log, stderr=subprocess.STDOUT
        )
    return Job(stage, process, time.monotonic())


def _environment() -> dict[str, str]:
    """One thread a stage, UTF-8 whatever the locale, and this package wherever it lies."""
    package = str(Path(fairseq_lottery.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
