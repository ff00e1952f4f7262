"""What commands with registered measures share: their arguments, and where results go."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, Optional

from fairseq_lottery.analysis.results import Results
from fairseq_lottery.errors import LotteryError


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--measures``, ``--list``, ``--out``, ``--overwrite`` and ``--json``."""
    add = parser.add_argument
    add("--measures", metavar="LIST", help="names of measures, separated by commas (all that"
        " apply)")  # fmt: skip
    add("--list", action="store_true", help="print the measures that apply to A, and exit")
    add("--out", type=Path, metavar="DIR", help="folder for all rows, as CSV, and their record")
    add("--overwrite", action="store_true", help="replace the folder if it has results")
    add("--json", action="store_true", help="print all rows as JSON")


def names_of(args: argparse.Namespace) -> Optional[list[str]]:
    """Return the names in ``--measures``; None if it is not given."""
    return None if args.measures is None else [name.strip() for name in args.measures.split(",")]


def list_measures(command: str, path: Path, models: int) -> None:
    """Print the names and titles of the measures that apply to an input."""
    from fairseq_lottery.analysis.compute import open_input, reads, select_measures

    for one in select_measures(command, reads(open_input(path)), models):
        print(f"{one.name:<24} {one.title}")


def refuse_existing(args: argparse.Namespace) -> None:
    """Refuse an existing ``--out`` before the computation, unless it may be replaced."""
    if args.out is not None and os.path.lexists(args.out) and not args.overwrite:
        raise LotteryError(f"{args.out} exists already; remove it or choose another name")


def deliver(
    results: Results, args: argparse.Namespace, summary: Callable[[Results], list[str]]
) -> None:
    """Save results to ``--out``, and print them as ``--json`` or as a summary.

    Measures that do not apply are printed to the standard error.
    """
    if args.out is not None:
        results.save(args.out, args.overwrite)
    if args.json:
        print(results.as_json())
    else:
        print(*summary(results), sep="\n")
    for name, reason in results.inputs.get("left_out", {}).items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
