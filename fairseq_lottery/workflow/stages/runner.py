"""Run one stage under a lock, resume it if it was interrupted, and check its files.

Snakemake and emitted scripts call it in the workflow's folder as
``python -m fairseq_lottery.workflow.stages.runner NAME -- COMMAND...``.
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
from fairseq_lottery.records.plan import Stage, read_stage_plan
from fairseq_lottery.workflow.planning.folder_state import read_record
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.stages.finish import clean, finish, update_of
from fairseq_lottery.workflow.stages.gpus import reserve_gpus
from fairseq_lottery.workflow.stages.record_lines import refresh

MODULE = "fairseq_lottery.workflow.stages.runner"


def run_stage(stage: Stage, command: list[str], gpus: int, threads: int) -> None:
    """Run a stage in the current folder, unless it is finished.

    Args:
        command: command line of the stage.
        gpus: number of this machine's GPUs that the stage reserves.
        threads: number of threads of the stage.

    Raises:
        LotteryError: the stage failed; the message names its log and how to repeat it.
    """
    folder = Path(stage.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(stage) as lock:
        if read_record(Path(), stage) is None:
            begin = time.time()
            last = folder / "checkpoint_last.pt"
            log_size = os.path.getsize(stage.log) if os.path.exists(stage.log) else 0
            code, signal_name = 0, ""
            is_resumed = stage.kind == "train" and last.is_file()
            has_ended = is_resumed and update_of(last) == stage.facts["updates"]
            if not has_ended:
                with reserve_gpus(gpus) as (devices, locks):
                    begin = time.time()
                    extra = {**devices, **_environment(command, threads)}
                    code, signal_name = _run(stage, command, extra, [lock.fileno(), *locks])
            seconds = _add_seconds(stage, time.time() - begin)
            cause = (signal_name or _saving_signal(stage, log_size)) if code else ""
            if cause:
                raise LotteryError(
                    f"the stage {stage.name} was stopped by {cause}; start it again to resume it"
                )
            try:
                results = finish(stage, code, has_ended)
            except LotteryError as error:
                raise _failed(stage, code, command, str(error)) from error
            record = {
                "stage": stage.name,
                "command": command,
                "seconds": seconds,
                "versions": versions(),
                **stage.facts,
                **results,
            }
            write_file(Path(stage.record), record, indent=1)
            (folder / f".{stage.kind}.seconds").unlink()
        clean(Path(), stage)
        if stage.kind == "score":
            refresh(Path())


@contextmanager
def _alone(stage: Stage) -> Iterator[IO[str]]:
    """Hold the stage's lock; wait for a process of the stage that is still running."""
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
        # in an allocation of several tasks this stage is one task, which starts the others
        numbers["SLURM_NTASKS"] = "1"
    return {**numbers, "PYTHONUTF8": "1", **TORCHRUN_ENVIRONMENT}


def _run(
    stage: Stage, command: list[str], extra: dict[str, str], locks: list[int]
) -> tuple[int, str]:
    """Run the command in its own process group, and return its exit code and a received signal."""
    received: list[int] = []
    process: Optional[subprocess.Popen[bytes]] = None

    def forward(number: int, _: Any) -> None:
        received.append(number)
        send()

    def send() -> None:
        if process is None or process.poll() is not None:
            return
        # the first signal makes all processes of a training save, a second one ends them
        saves = stage.kind == "train" and len(received) == 1
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
                pass_fds=locks,  # the training holds the locks until it ends
                start_new_session=True,
                preexec_fn=_ignore_usr1,
            )
            if received:  # before the process existed
                send()
            code = process.wait()
    except OSError as error:
        raise LotteryError(
            f"the stage {stage.name} cannot start {command[0]}: {error.strerror}"
        ) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code, signal.Signals(received[0]).name if received else ""


def _saving_signal(stage: Stage, log_size: int) -> str:
    """Return the signal that a training saved for, by the log after its first bytes."""
    with open(stage.log, "rb") as log:
        log.seek(log_size)
        names = re.findall(rb"saved at update \d+ because of (\w+)", log.read())
    return names[-1].decode() if names else ""


def _ignore_usr1() -> None:
    """Ignore SIGUSR1, which would kill torchrun; trainings set their own handlers."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _add_seconds(stage: Stage, seconds: float) -> float:
    """Return the seconds of this start and of all previous starts of the stage."""
    path = Path(stage.folder) / f".{stage.kind}.seconds"
    try:
        before = float(read_text(path, 100))
    except (OSError, ValueError):  # missing or truncated
        before = 0.0
    with replacing(path) as temporary:
        temporary.write_text(f"{before + seconds:.1f}", encoding="utf-8")
    return round(before + seconds, 1)


def _failed(stage: Stage, code: int, command: list[str], reason: str) -> LotteryError:
    lines = [line for line in tail(Path(stage.log)).splitlines() if line.strip()]
    messages = [line for line in lines if line.startswith("fairseq-lottery: ")]
    last = messages[-1] if messages else " / ".join(line[-160:] for line in lines[-2:])
    runner = [sys.executable, "-m", MODULE, stage.name, "--", *command]
    line = f"{shlex.join(['cd', str(Path.cwd())])} && {shlex.join(runner)}"
    return LotteryError(
        f"the stage {stage.name} failed ({reason}); its log {Path.cwd() / stage.log} ends with:"
        f" {last}; repeat it with: {line}"
    )


def main() -> int:
    """Run a stage of ``plan.json`` in the current folder."""
    name, dashes, *command = sys.argv[1:] + ["", ""][: max(0, 3 - len(sys.argv))]
    try:
        if dashes != "--" or not command or not re.match(r"\w+-", name):
            raise LotteryError(f"usage: python -m {MODULE} NAME -- COMMAND...")
        plan = read_stage_plan(Path())
        stage = next((stage for stage in plan.stages if stage.name == name), None)
        if stage is None:
            raise LotteryError(f"the plan of {Path.cwd()} has no stage {name}")
        gpus = 0
        if plan.executor == "local":  # a cluster assigns the GPUs itself
            most = plan.gpus if stage.kind == "train" else int(stage.runs_model)
            gpus = min(plan.gpus, most)
        try:
            run_stage(stage, command, gpus, plan.threads)
        except LotteryError as error:
            # the starter reads the message here, even on another machine
            with replacing(stage.failure) as path:
                path.write_text(f"{error}\n", encoding="utf-8")
            raise
    except LotteryError as error:
        print(f"fairseq-lottery: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
