"""Run a configuration: every technique, sparsity and seed, locally or on a cluster.

Snakemake runs the stages that are not finished. -n shows them and their cost first. Start the
same command again to resume a run that was killed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from fairseq_lottery.records.plan import Stage
    from fairseq_lottery.workflow.planning.plan import Plan

EXAMPLE = "fairseq-lottery run examples/wmt14/en-de.yaml -n"
REQUIRES = ("yaml", "rich")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``run``."""
    add = parser.add_argument
    add("configuration", type=Path, metavar="CONFIG.yaml", help="configuration file")
    add("--out", type=Path, metavar="DIR", help="output folder (default: out of the file)")
    add("-n", "--dry-run", action="store_true", help="show the plan and its cost, run nothing")
    add("--json", action="store_true", help="with -n: print JSON")
    add("--calibrate", action="store_true", help="train 200 updates first, to estimate the cost")
    add("--only", action="append", default=[], metavar="CELL",
        help="run only these cells, such as 'slt@0.9#1'; may be repeated")  # fmt: skip
    add("--seeds", metavar="N,N", help="run only the cells of these seeds")
    add("--jobs", type=int, default=1, metavar="N", help="number of parallel stages (default: 1)")
    add("--executor", default="local", help="Snakemake executor: local (default), slurm, ...")
    add("--emit", metavar="KIND", help="print the pending commands as a script: bash or sbatch")
    add("--yes", action="store_true", help="repeat finished trainings that the plan runs again")


def run(args: argparse.Namespace) -> None:
    """Plan the stages, check them, and run them with the engine.

    Raises:
        LotteryError: a flag, the configuration, the data or the environment is invalid.
    """
    from rich.console import Console

    from fairseq_lottery.workflow.command_lines.plan_stages import make_stages
    from fairseq_lottery.workflow.planning.chosen_cells import choose_cells
    from fairseq_lottery.workflow.planning.cost import estimate
    from fairseq_lottery.workflow.planning.folder_state import find_work
    from fairseq_lottery.workflow.planning.plan import make_plan
    from fairseq_lottery.workflow.planning.show import as_json, show
    from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

    if args.json and not args.dry_run:
        raise LotteryError("--json requires -n; give both")
    if args.emit and args.dry_run:
        raise LotteryError("-n and --emit exclude each other; give one of them")
    if args.jobs < 1:
        raise LotteryError(f"--jobs {args.jobs} is too small; give 1 or more")
    configuration = read_configuration(args.configuration, args.out)
    plan = make_plan(configuration)
    wanted = {cell.training.folder for cell in choose_cells(plan, args.only, _seeds(args.seeds))}
    executor = "slurm" if args.emit == "sbatch" else args.executor
    stages = make_stages(plan, executor, wanted)
    if args.calibrate:
        _calibrate(plan, executor)
    if not args.dry_run:
        _carry_out(args, plan, stages, wanted, executor)
        return
    work = find_work(configuration.out, stages, wanted)
    cost = estimate(configuration, stages, work, args.jobs)
    if args.json:
        print(json.dumps(as_json(plan, work, cost, args.jobs), indent=1))
    else:
        show(Console(), plan, work, cost, args.jobs)


def _calibrate(plan: Plan, executor: str) -> None:
    from fairseq_lottery.files import alone_in
    from fairseq_lottery.workflow.engine.calibrate import calibrate
    from fairseq_lottery.workflow.engine.data_checks import check_files

    with alone_in(plan.configuration.out):
        check_files(plan.configuration)
        calibrate(plan, executor)


def _carry_out(
    args: argparse.Namespace, plan: Plan, stages: tuple[Stage, ...], wanted: set[str], executor: str
) -> None:
    """Check everything, then run the pending stages or print their script."""
    from rich.console import Console

    from fairseq_lottery.files import alone_in
    from fairseq_lottery.report.reading.published import names
    from fairseq_lottery.workflow.engine import start_checks
    from fairseq_lottery.workflow.engine.data_checks import check_files, note_data
    from fairseq_lottery.workflow.engine.emit import emit
    from fairseq_lottery.workflow.engine.snakemake import carry_out
    from fairseq_lottery.workflow.planning.cost import estimate, note_parameters
    from fairseq_lottery.workflow.planning.folder_state import find_work
    from fairseq_lottery.workflow.planning.show import lines

    configuration, console = plan.configuration, Console()
    out = configuration.out
    with alone_in(out):
        work = find_work(out, stages, wanted)
        cost = estimate(configuration, stages, work, args.jobs)
        if not args.yes:
            start_checks.refuse_repeats(work, cost)
            start_checks.refuse_other_plan(out, stages)
        if work.pending and not args.emit:
            require("snakemake")
            start_checks.check_executor(executor)
        data = check_files(configuration)
        if configuration.published and configuration.published not in names():
            raise configuration.source.error(
                ("published",),
                f"published figures {configuration.published} are unknown; choose one of"
                f" {', '.join(names())}",
            )
        notes: list[str] = []
        parameters = None
        if work.pending:
            # a script may run on any machine, so this machine's GPUs are not checked
            place = "other" if args.emit else executor
            notes, parameters = start_checks.check_environment(plan, work, place)
            cost = estimate(configuration, stages, work, args.jobs, parameters)
            start_checks.check_disk(configuration, cost)
        script = emit(plan, stages, work, args.emit, args.jobs) if args.emit else ""
        # written only after the last check that may fail
        note_data(configuration, data)
        if parameters:
            note_parameters(out, parameters)
        notes = [f"note: {note}" for note in notes]
        if args.emit:
            for note in notes:
                print(note, file=sys.stderr)
            print(script, end="")
            return
        if work.pending:
            for line in notes + lines(plan, work, cost, args.jobs):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        carry_out(plan, stages, work, args.jobs, executor, console)
    console.print(f"done; fairseq-lottery report {out} --out report", soft_wrap=True)


def _seeds(text: Optional[str]) -> Optional[tuple[int, ...]]:
    if text is None:
        return None
    try:
        seeds = tuple(sorted({int(seed) for seed in text.split(",")}))
    except ValueError:
        raise LotteryError(f"--seeds {text} is not a list of integers; write 1,2,3") from None
    if seeds[0] < 0:
        raise LotteryError(f"--seeds {text}: {seeds[0]} is negative; give 0 or more")
    return seeds
