"""What commands with rows of measures share: their arguments, and where results go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from fairseq_lottery.analysis.results import Results

#: arguments that do not change the rows
_NOT_SETTINGS = ("run", "command", "debug", "out", "overwrite", "figures", "json")


def add_measures(parser: argparse.ArgumentParser) -> None:
    """Add ``--measures`` and ``--list``."""
    add = parser.add_argument
    add("--measures", metavar="LIST", help="names of measures, separated by commas (all that"
        " apply)")  # fmt: skip
    add("--list", action="store_true", help="print the measures that apply to A, and exit")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--out``, ``--overwrite``, ``--figures`` and ``--json``."""
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="folder for all rows, as CSV, and their record")
    add("--overwrite", action="store_true", help="replace the folder if it has results")
    add("--figures", action="store_true", help="with --out, also write plots of the rows into"
        " DIR/figures, as PDF, SVG, PNG and CSV")  # fmt: skip
    add("--json", action="store_true", help="print all rows as JSON")


def names_of(args: argparse.Namespace) -> Optional[list[str]]:
    """Return the names in ``--measures``; None if it is not given."""
    return None if args.measures is None else [name.strip() for name in args.measures.split(",")]


def settings_of(args: argparse.Namespace, *inputs: str) -> dict[str, Any]:
    """Return the arguments that change the rows, without the named inputs."""
    return {n: v for n, v in vars(args).items() if n not in (*_NOT_SETTINGS, *inputs)}


def list_measures(command: str, path: Path, models: int) -> None:
    """Print the names and titles of the measures that apply to an input."""
    from fairseq_lottery.analysis.compute import open_input, reads, select_measures

    for one in select_measures(command, reads(open_input(path)), models):
        print(f"{one.name:<24} {one.title}")


def refuse_output(args: argparse.Namespace) -> None:
    """Refuse an ``--out`` that cannot be written, before the computation.

    Raises:
        LotteryError: the folder exists and must not be replaced, its parent does not exist, or
            ``--figures`` lacks ``--out`` or a library.
    """
    if args.figures:
        if args.out is None:
            raise LotteryError("--figures requires --out; name a folder for the figures")
        require("matplotlib")
    if args.out is not None:
        from fairseq_lottery.analysis.results import RECORD
        from fairseq_lottery.files.folders import refuse_folder

        refuse_folder(args.out, RECORD, args.overwrite)


def deliver(results: Results, args: argparse.Namespace, lines: Iterable[str]) -> None:
    """Save results to ``--out``, and print them as ``--json`` or as lines of text.

    They are printed even if they cannot be saved. Measures that do not apply are printed to the
    standard error.
    """
    try:
        if args.out is not None:
            results.save(args.out, args.overwrite, args.figures)
    finally:
        print(results.as_json() if args.json else "\n".join(lines))
    for name, reason in results.inputs.get("left_out", {}).items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
