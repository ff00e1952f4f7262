"""Carry out a configuration: every technique, sparsity and seed, here or on a cluster.

Snakemake runs the stages that are not finished. -n shows them and their cost first; a run that
was killed goes on where it stopped when it is started again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Optional

EXAMPLE = "fairseq-lottery run examples/wmt14/en-de.yaml -n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration, what of it, where, and how many stages at a time."""
    add = parser.add_argument
    add("configuration", type=Path, metavar="CONFIG.yaml", help="what is to be run")
    add("--out", type=Path, metavar="DIR", help="its folder, instead of the configuration's")
    add("-n", "--dry-run", action="store_true", help="show the plan and its cost, run nothing")
    add("--json", action="store_true", help="with -n: as JSON")
    add("--calibrate", action="store_true", help="measure 200 updates first, for the cost")
    add("--only", action="append", default=[], metavar="CELL", help="as 'slt@0.9#1'; several times")
    add("--seeds", metavar="N,N", help="cells of these seeds only")
    add("--jobs", type=int, default=1, metavar="N", help="stages at a time (default: 1)")
    add("--executor", default="local", help="of Snakemake: local (default), slurm, ...")
    add("--emit", metavar="KIND", help="print the pending command lines as a script: bash, sbatch")
    add("--yes", action="store_true", help="repeat what the plan says runs again")


def run(args: argparse.Namespace) -> None:
    """Plan, check, and hand over to the engine."""
    import json

    from fairseq_lottery.environment import require
    from fairseq_lottery.errors import LotteryError
    from fairseq_lottery.files import alone_in

    require("yaml", "rich")
    from rich.console import Console

    from fairseq_lottery.report.reading.published import names
    from fairseq_lottery.workflow.engine.calibrate import calibrate
    from fairseq_lottery.workflow.engine.data_checks import check_files, note_data
    from fairseq_lottery.workflow.engine.emit import emit
    from fairseq_lottery.workflow.engine.snakemake import carry_out
    from fairseq_lottery.workflow.engine.start_checks import (
        check_disk,
        check_environment,
        check_executor,
        refuse_other_plan,
        refuse_repeats,
    )
    from fairseq_lottery.workflow.planning.commands import make_stages
    from fairseq_lottery.workflow.planning.cost import estimate, note_parameters
    from fairseq_lottery.workflow.planning.folder_state import find_work
    from fairseq_lottery.workflow.planning.plan import choose_cells, make_plan
    from fairseq_lottery.workflow.planning.show import as_json, lines, show
    from fairseq_lottery.workflow.reading.configuration_reader import read_configuration

    if args.json and not args.dry_run:
        raise LotteryError("--json shows a plan and runs nothing; give -n with it")
    if args.emit and args.dry_run:
        raise LotteryError("-n shows the plan and --emit prints a script; give one of them")
    if args.jobs < 1:
        raise LotteryError(f"--jobs {args.jobs} runs nothing; give 1 or more")
    configuration = read_configuration(args.configuration, args.out)
    plan = make_plan(configuration)
    wanted = {cell.training.folder for cell in choose_cells(plan, args.only, _seeds(args.seeds))}
    executor = "slurm" if args.emit == "sbatch" else args.executor
    stages = make_stages(plan, executor, wanted)
    out, console = configuration.out, Console()
    if args.calibrate:
        with alone_in(out):
            check_files(configuration)
            calibrate(plan, executor)
    if args.dry_run:
        work = find_work(out, stages, wanted)
        cost = estimate(configuration, stages, work, args.jobs)
        if args.json:
            print(json.dumps(as_json(plan, work, cost, args.jobs), indent=1))
        else:
            show(console, plan, work, cost, args.jobs)
        return
    with alone_in(out):
        work = find_work(out, stages, wanted)
        cost = estimate(configuration, stages, work, args.jobs)
        if not args.yes:
            refuse_repeats(work, cost)
            refuse_other_plan(out, stages)
        if work.pending and not args.emit:
            require("snakemake")
            check_executor(executor)
        data = check_files(configuration)
        if configuration.published and configuration.published not in names():
            raise configuration.source.error(
                ("published",),
                f"there are no published figures {configuration.published}; choose one of"
                f" {', '.join(names())}",
            )
        if work.pending:
            # a script is for any machine: only what holds for all of them is asked
            asked = check_environment(plan, work, "other" if args.emit else executor)
            cost = estimate(configuration, stages, work, args.jobs, asked.parameters)
            check_disk(configuration, cost)
        script = emit(plan, stages, work, args.emit, args.jobs) if args.emit else ""
        # nothing is refused any more
        note_data(configuration, data)
        if work.pending and asked.parameters:
            note_parameters(out, asked.parameters)
        if args.emit:
            for note in asked.notes if work.pending else ():
                print(f"note: {note}", file=sys.stderr)
            print(script, end="")
            return
        if work.pending:
            notes = [f"note: {note}" for note in asked.notes]
            for line in notes + lines(plan, work, cost, args.jobs):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        carry_out(plan, stages, work, args.jobs, executor, console)
    console.print(f"done; fairseq-lottery report {out} --out report", soft_wrap=True)


def _seeds(text: Optional[str]) -> Optional[tuple[int, ...]]:
    from fairseq_lottery.errors import LotteryError

    if text is None:
        return None
    try:
        seeds = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise LotteryError(f"--seeds {text} must be whole numbers with commas, as 1,2,3") from None
    if seeds[0] < 0:
        raise LotteryError(f"--seeds {text} must not be negative")
    return seeds
