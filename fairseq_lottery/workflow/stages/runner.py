"""Running one stage: once at a time, resumed where it stopped, judged by what it leaves.

``python -m fairseq_lottery.workflow.stages.runner NAME -- COMMAND...``, in the workflow's folder.
This is what Snakemake starts and what emitted scripts hold; COMMAND is the plain command line.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Optional

from fairseq_lottery.environment import versions
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.launch import TORCHRUN_ENVIRONMENT
from fairseq_lottery.records.json_files import write_file
from fairseq_lottery.records.plan import RUNNING, Stage, read_stage_plan
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.stages.finish import clean, finish, update_of
from fairseq_lottery.workflow.stages.gpus import borrowed
from fairseq_lottery.workflow.stages.record_lines import refresh

MODULE = "fairseq_lottery.workflow.stages.runner"


def run_stage(stage: Stage, command: list[str], gpus: int, threads: int) -> None:
    """Run a stage of the workflow in the current folder, unless it is finished.

    Args:
        command: the plain command line.
        gpus: how many of this machine's GPUs the stage occupies.

    Raises:
        LotteryError: it failed; the sentence names its log and how to repeat it.
    """
    folder = Path(stage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(stage) as lock:
        if read_record(Path(), stage) is None:
            begin = time.time()
            last = folder / "checkpoint_last.pt"
            told = os.path.getsize(stage.log) if os.path.exists(stage.log) else 0
            code, wanted = 0, ""
            # nothing is left to do for a training that has all of its updates
            is_resumed = stage.kind == "train" and last.is_file()
            ended = is_resumed and update_of(last) == stage.facts["updates"]
            if not ended:
                with borrowed(gpus) as (devices, held):
                    begin = time.time()
                    extra = {**devices, **_environment(command, threads)}
                    code, wanted = _run(stage, command, extra, [lock.fileno(), *held])
            seconds = _spent(stage, time.time() - begin)
            stopped = (wanted or _saved(stage, told)) if code else ""
            if stopped:
                raise LotteryError(
                    f"the stage {stage.name} was stopped by {stopped}; it goes on where it was when"
                    " it is started again"
                )
            try:
                found = finish(stage, code, ended)
            except LotteryError as error:
                raise _failed(stage, code, command, str(error)) from error
            record = {
                "stage": stage.name,
                "command": command,
                "seconds": seconds,
                "versions": versions(),
                **stage.facts,
                **found,
            }
            write_file(Path(stage.record), record, indent=1)
            (folder / f".{stage.kind}.seconds").unlink()
        clean(Path(), stage)
        if stage.kind == "score":
            refresh(Path())


@contextmanager
def _alone(stage: Stage) -> Iterator[IO[str]]:
    """Hold the stage's lock; a process that outlived its starter is waited for."""
    with open(Path(stage.folder) / f".{stage.kind}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{stage.name} runs already; waiting for it to end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _environment(command: list[str], threads: int) -> dict[str, str]:
    numbers = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if "srun" not in command[:1]:
        # inside an allocation of several tasks: this stage is one, and starts others itself
        numbers["SLURM_NTASKS"] = "1"
    return {**numbers, "PYTHONUTF8": "1", **TORCHRUN_ENVIRONMENT}


def _run(
    stage: Stage, command: list[str], extra: dict[str, str], locks: list[int]
) -> tuple[int, str]:
    """Run the command in a group of its own; returns its exit code and the signal that came."""
    came: list[int] = []
    process: Optional[subprocess.Popen[bytes]] = None

    def forward(number: int, _: Any) -> None:
        came.append(number)
        tell()

    def tell() -> None:
        if process is None or process.poll() is not None:
            return
        # the first asks a training to save, in all its processes; a second one ends it
        saves = stage.kind == "train" and len(came) == 1
        os.killpg(process.pid, signal.SIGUSR1 if saves else signal.SIGTERM)

    handled = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        with open(stage.log, "ab" if stage.kind == "train" else "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **extra},
                pass_fds=locks,  # they are held for as long as the training lives
                start_new_session=True,
                preexec_fn=_ignore_usr1,
            )
            if came:  # before there was a process to tell
                tell()
            code = process.wait()
    except OSError as error:
        raise LotteryError(
            f"the stage {stage.name} cannot start {command[0]}: {error.strerror}"
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code, signal.Signals(came[0]).name if came else ""


def _saved(stage: Stage, told: int) -> str:
    """The signal that made a training save and end since its log had ``told`` bytes."""
    with open(stage.log, "rb") as log:
        log.seek(told)
        found = re.findall(rb"saved at update \d+ because of (\w+)", log.read())
    return found[-1].decode() if found else ""


def _ignore_usr1() -> None:
    """torchrun would die of it; a training's own processes set their handlers themselves."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _spent(stage: Stage, seconds: float) -> float:
    """The seconds of this start and of those before it that did not finish the stage."""
    path = Path(stage.folder) / f".{stage.kind}.seconds"
    try:
        before = float(read_text(path, 100))
    except (OSError, ValueError):  # there is none, or it was cut off
        before = 0.0
    with replacing(path) as temporary:
        temporary.write_text(f"{before + seconds:.1f}", encoding="utf-8")
    return round(before + seconds, 1)


def _failed(stage: Stage, code: int, command: list[str], reason: str) -> LotteryError:
    lines = [line for line in tail(Path(stage.log)).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("fairseq-lottery: ")]
    last = said[-1] if said else " / ".join(line[-160:] for line in lines[-2:])
    runner = [sys.executable, "-m", MODULE, stage.name, "--", *command]
    again = f"{shlex.join(['cd', str(Path.cwd())])} && {shlex.join(runner)}"
    return LotteryError(
        f"the stage {stage.name} failed ({reason}); its log {Path.cwd() / stage.log} ends with:"
        f" {last}; repeat it with: {again}"
    )


def main() -> int:
    """Find the stage in ``plan.json`` of the current folder and run it."""
    name, dashes, *command = sys.argv[1:] + ["", ""][: max(0, 3 - len(sys.argv))]
    try:
        if dashes != "--" or not command or not re.match(r"\w+-", name):
            raise LotteryError(f"usage: python -m {MODULE} NAME -- COMMAND...")
        plan = read_stage_plan(Path())
        stage = next((stage for stage in plan.stages if stage.name == name), None)
        if stage is None:
            raise LotteryError(f"the plan of {Path.cwd()} has no stage {name}")
        gpus = 0
        if plan.executor == "local":  # a cluster hands out GPUs by itself
            most = plan.gpus if stage.kind == "train" else int(stage.kind in RUNNING)
            gpus = min(plan.gpus, most)
        try:
            run_stage(stage, command, gpus, plan.threads)
        except LotteryError as error:
            # where whoever started the stage finds it, on whatever machine
            with replacing(stage.failure) as path:
                path.write_text(f"{error}\n", encoding="utf-8")
            raise
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
