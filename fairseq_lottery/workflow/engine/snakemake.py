"""Run the plan with Snakemake, on this machine or on a cluster."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.engine.jobs import write_plan
from fairseq_lottery.workflow.engine.progress_board import Board
from fairseq_lottery.workflow.planning.folder_state import Work, read_record, saved_update
from fairseq_lottery.workflow.planning.logs import tail
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.stages.record_lines import refresh

SNAKEFILE = Path(__file__).with_name("Snakefile")
LOG = "engine.log"


def carry_out(
    plan: Plan,
    stages: tuple[Stage, ...],
    work: Work,
    jobs: int,
    executor: str,
    console: Console,
) -> None:
    """Run all pending stages; start Snakemake again while stopped trainings advance.

    Raises:
        LotteryError: a stage or Snakemake failed.
    """
    out = plan.configuration.out
    write_plan(plan, stages, work, executor)
    refresh(out)
    pending = work.pending
    board = Board(console)
    with board.progress:
        while pending:
            trained = [stage for stage in pending if stage.kind == "train"]
            saved = {stage.name: saved_update(out, stage) for stage in trained}
            code = _snakemake(plan, jobs, executor, pending, board)
            pending = tuple(s for s in pending if read_record(out, s) is None)
            refresh(out)
            has_advanced = any(
                saved_update(out, s) > saved[s.name] for s in trained if s in pending
            )
            if pending and not (code and has_advanced):
                raise _failure(out, pending)


def _snakemake(
    plan: Plan, jobs: int, executor: str, pending: tuple[Stage, ...], board: Board
) -> int:
    configuration = plan.configuration
    out = configuration.out
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--directory", str(out), "--nolock", "--rerun-incomplete", "--keep-going"]
    # the plan has only pending stages, so times and contents of files must not start others
    command += ["--rerun-triggers", "params", "--drop-metadata", "--scheduler", "greedy"]
    command += ["--quiet", "rules", "progress", "reason", "host", "--latency-wait", "60"]
    if executor == "local":
        resources = configuration.resources
        # a stage takes one slot, independently of its threads
        cores = jobs * resources.processes * resources.threads
        command += ["--cores", str(cores), "--resources", f"slot={jobs}"]
    else:
        command += ["--executor", executor, "--jobs", str(jobs)]
    command += list(configuration.engine)
    for stage in pending:
        (out / stage.failure).unlink(missing_ok=True)
    with open(out / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=out,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        while process.poll() is None:
            board.update(out, pending)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=1)
    except BaseException:
        # the stages are in Snakemake's process group: trainings save, and all stages end
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    board.update(out, pending)
    return process.returncode


def _end_with_parent() -> None:
    """Send SIGTERM to Snakemake when this process dies (Linux), so that all stages end."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _failure(out: Path, pending: tuple[Stage, ...]) -> LotteryError:
    """Return the error of the first failed stage, or of Snakemake."""
    failures = [out / stage.failure for stage in pending if (out / stage.failure).is_file()]
    if not failures:
        last = [line for line in tail(out / LOG).splitlines() if line.strip()][-1:]
        reason = f" ({last[0].strip()[:200]})" if last else ""
        return LotteryError(f"Snakemake failed{reason}; see its log {out / LOG}")
    message = failures[0].read_text(encoding="utf-8").strip()
    more = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
    return LotteryError(f"{message}{more}")
