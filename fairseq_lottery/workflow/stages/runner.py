"""Running one stage: once at a time, resumed where it stopped, judged by what it leaves.

``python -m fairseq_lottery.workflow.stages.runner NAME -- COMMAND...``, in the workflow's folder.
This is what Snakemake starts and what emitted scripts hold; COMMAND is the plain command line.
"""

from __future__ import annotations

import fcntl
import json
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
from fairseq_lottery.workflow.planning.folder_files import read_plan
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.planning.stage import RUNNING, TRAINED, Stage
from fairseq_lottery.workflow.stages.gpus import borrowed
from fairseq_lottery.workflow.stages.learning_curves import read_curves
from fairseq_lottery.workflow.stages.record_lines import refresh
from fairseq_lottery.workflow.stages.retained_files import clean
from fairseq_lottery.workflow.trainings.training import model_file


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
            last = Path(stage.folder) / "checkpoint_last.pt"
            told = os.path.getsize(stage.log) if os.path.exists(stage.log) else 0
            code, wanted = 0, ""
            # nothing is left to do for a training that has all of its updates
            ended = stage.kind == "train" and last.is_file() and _update_of(last) == _end(stage)
            if not ended:
                with borrowed(gpus) as (devices, held):
                    begin = time.time()
                    extra = {**devices, **_environment(command, threads)}
                    code, wanted = _run(stage, command, extra, [lock.fileno(), *held])
            seconds = _spent(stage, time.time() - begin)
            if code and (wanted or _saved(stage, told)):
                raise LotteryError(
                    f"the stage {stage.name} was stopped by {wanted or _saved(stage, told)}; it"
                    " goes on where it was when it is started again"
                )
            try:
                found = _finish(stage, code, ended)
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
            with replacing(stage.record) as path:
                path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            _seconds_file(stage).unlink()
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


# --- judging -------------------------------------------------------------------------------------


def _finish(stage: Stage, code: int, ended: bool) -> dict[str, Any]:
    """Check what a stage left, and say what its record keeps.

    torch now and then aborts while the interpreter leaves, after all work is done: what a
    stage leaves counts, and its exit code only where it is another.
    """
    if code not in (0, -signal.SIGABRT, 128 + signal.SIGABRT):
        raise LotteryError(f"exit code {code}")
    found: dict[str, Any] = {}
    if stage.kind in TRAINED:
        found = _finish_training(stage)
    # of a training that had ended before, snapshots may have been cleaned up since
    left = [file for file in stage.leaves if not ended or file.endswith(".pt")]
    missing = [file for file in left if not Path(file).is_file()]
    if missing:
        raise LotteryError(f"it left no {missing[0]}")
    if stage.kind == "generate" and "Generate " not in tail(Path(stage.leaves[0])):
        raise LotteryError(f"{stage.leaves[0]} is not complete")
    return found


def _finish_training(stage: Stage) -> dict[str, Any]:
    """Make the chosen models and count what is pruned in them."""
    from dataclasses import asdict

    from fairseq_lottery.workflow.stages.selected_model import choose, measure

    folder, facts = Path(stage.folder), stage.facts
    if stage.kind == "train":
        _refuse_unfinished(folder, facts["updates"])
    measured = {}
    for checkpoint in facts["models"]:
        model = folder / model_file(checkpoint)
        if stage.kind == "train":
            choose(folder, checkpoint)
        closed = facts.get("parts") or {}
        found = measure(
            model, facts["sparsity"], closed.get("file"), closed.get("kind"), closed.get("share")
        )
        measured[checkpoint] = asdict(found)
    return {"measured": measured, "curves": read_curves(Path(stage.log))}


def _refuse_unfinished(folder: Path, updates: int) -> None:
    done = _update_of(folder / "checkpoint_last.pt")
    if done != updates:
        raise LotteryError(f"it ended at update {done} of {updates}")


def _update_of(checkpoint: Path) -> int:
    """Updates behind a checkpoint; -1 for one that is damaged, which the training mends."""
    from fairseq_lottery.formats.source import read_checkpoint

    try:
        state = read_checkpoint(checkpoint)
    except LotteryError:
        return -1
    return int((state.get("optimizer_history") or [{}])[-1].get("num_updates") or 0)


def _end(stage: Stage) -> int:
    return int(stage.facts["updates"])


def _spent(stage: Stage, seconds: float) -> float:
    """The seconds of this start and of those before it that did not finish the stage."""
    path = _seconds_file(stage)
    try:
        before = float(read_text(path, 100))
    except (OSError, ValueError):  # there is none, or it was cut off
        before = 0.0
    with replacing(path) as temporary:
        temporary.write_text(f"{before + seconds:.1f}", encoding="utf-8")
    return round(before + seconds, 1)


def _seconds_file(stage: Stage) -> Path:
    return Path(stage.folder) / f".{stage.kind}.seconds"


def _failed(stage: Stage, code: int, command: list[str], reason: str) -> LotteryError:
    lines = [line for line in tail(Path(stage.log)).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("fairseq-lottery: ")]
    last = said[-1] if said else " / ".join(line[-160:] for line in lines[-2:])
    again = shlex.join(["cd", str(Path.cwd())]) + " && " + shlex.join(_wrapped(stage, command))
    return LotteryError(
        f"the stage {stage.name} failed ({reason}); its log {Path.cwd() / stage.log} ends with:"
        f" {last}; repeat it with: {again}"
    )


def _wrapped(stage: Stage, command: list[str]) -> list[str]:
    runner = "fairseq_lottery.workflow.stages.runner"
    return [sys.executable, "-m", runner, stage.name, "--", *command]


def main() -> int:
    """Find the stage in ``plan.json`` of the current folder and run it."""
    name, dashes, *command = sys.argv[1:] + ["", ""][: max(0, 3 - len(sys.argv))]
    try:
        if dashes != "--" or not command or not re.match(r"\w+-", name):
            module = "fairseq_lottery.workflow.stages.runner"
            raise LotteryError(f"usage: python -m {module} NAME -- COMMAND...")
        plan = read_plan(Path())
        stages = tuple(Stage.from_json(stage) for stage in plan["stages"])
        found = [stage for stage in stages if stage.name == name]
        if not found:
            raise LotteryError(f"the plan of {Path.cwd()} has no stage {name}")
        one = dict.fromkeys(RUNNING, min(1, plan["gpus"]))
        job = {"train": plan["gpus"], **one}.get(found[0].kind, 0)
        try:
            # a cluster hands out GPUs by itself
            gpus = job if plan["executor"] == "local" else 0
            run_stage(found[0], command, gpus, plan["threads"])
        except LotteryError as error:
            _told(found[0], error)
            raise
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def _told(stage: Stage, error: LotteryError) -> None:
    """Leave the sentence where whoever started the stage finds it, on whatever machine."""
    with replacing(f"{stage.folder}/{stage.kind}.failed") as path:
        path.write_text(f"{error}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
