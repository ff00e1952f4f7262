"""Compute all measures of a sweep: each technique, sparsity and seed of run folders.

Records each cell's model once, compares it with the dense model of its seed and each two seeds of
a technique, and writes a table per command and its figures. Start the same command again to resume
an analysis that was killed.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_lottery.cli.user_module import add_user_dir, import_user_module
from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from fairseq_lottery.analysis.sweep.settings import Settings

EXAMPLE = "fairseq-lottery analyze runs/en-de --against dense --words 10000"
REQUIRES = ("torch", "numpy", "safetensors", "fairseq", "scipy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``analyze``."""
    from fairseq_lottery.analysis.sweep.settings import FOLDER, Settings

    add = parser.add_argument
    defaults = Settings()
    add("runs", nargs="+", metavar="RUN", help="output folder of fairseq-lottery run")
    add("--against", default=defaults.against, metavar="TECHNIQUE",
        help="compare each cell with this technique (dense)")  # fmt: skip
    add("--measures", nargs="+", default=[], metavar="NAME", help="measures (all); your own as"
        " package.module:function")  # fmt: skip
    add("--words", type=int, default=defaults.words, metavar="N",
        help="record N source words (10000)")  # fmt: skip
    add("--subset", default=defaults.subset, help="subset of the data (valid)")
    add("--labels", nargs="+", default=[], metavar="TASK=FILE", help="labels of probing tasks")
    add("--sieves", nargs="+", default=[], metavar="ROLE", help="roles of heads to test")
    add("--half", action="store_true", help="store half precision, in half the space")
    add("--discard", action="store_true", help="delete each recording once no measure requires it")
    add("--data", metavar="FOLDER", help="data folder (that of the training)")
    add("--max-tokens", type=int, default=4096, metavar="N", help="tokens of a batch (4096)")
    add("--cpu", action="store_true", help="do not use a GPU")
    add("--figures", action="store_true", help="draw the measures as PDF, SVG, PNG and CSV (with"
        " --measures only these); fairseq-lottery report shows some of them")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="folder of the analysis of all runs (by default"
        f" {FOLDER} in the folder of each)")  # fmt: skip
    add("--json", action="store_true", help="print the records as JSON")
    add_user_dir(parser)


def run(args: argparse.Namespace) -> None:
    """Analyze each run, and print the tables' names."""
    settings = read_settings(args)
    if args.figures:
        require("matplotlib")
    import fairseq  # noqa: F401 - before the plugin, which registers with it

    import_user_module(args.user_dir)
    from fairseq_lottery.analysis.sweep.cells import find_cells
    from fairseq_lottery.analysis.sweep.settings import FOLDER, Device
    from fairseq_lottery.analysis.sweep.sweep import analyze, split_by_run

    cells, missing = find_cells(args.runs)
    if not cells:
        raise LotteryError(f"the model {missing[0].file} is missing, as are all others")
    device = Device(args.data, args.max_tokens, args.cpu)
    if args.out is None:
        parts = [(run / FOLDER, own, others) for run, own, others in split_by_run(cells)]
    elif len({cell.recipe for cell in cells}) > 1:
        raise LotteryError("the runs have different recipes; analyze each with an --out of its own")
    else:
        parts = [(args.out, cells, [])]
    records = []
    for out, own, others in parts:
        with _Progress() as progress:
            record, tables = analyze(own, out, settings, device, others, progress.show)
        figures = _figures(tables, record, out, settings) if args.figures else []
        records.append(record)
        if not args.json:
            _print(out, record, len(figures))
    for cell in missing:
        print(f"left out: the model of {cell.name}, {cell.file}, is missing", file=sys.stderr)
    if args.json:
        print(json.dumps([asdict(record) for record in records]))


def read_settings(args: argparse.Namespace) -> Settings:
    """Return the settings of the arguments.

    Raises:
        LotteryError: an argument is invalid.
    """
    from fairseq_lottery.analysis.sweep.settings import Settings
    from fairseq_lottery.records.schema import Malformed, dotted, parse

    labels = {}
    for text in args.labels:
        name, equals, file = text.partition("=")
        if not name or not equals or not file:
            raise LotteryError(f"--labels {text} is not TASK=FILE; write pos=labels.txt")
        labels[name] = file
    values = {
        "against": args.against, "measures": args.measures, "words": args.words,
        "subset": args.subset, "half": args.half, "discard": args.discard,
        "labels": labels, "sieves": args.sieves,
    }  # fmt: skip
    try:
        return parse(Settings, values)
    except Malformed as error:
        raise LotteryError(f"--{dotted(error.place)} {error.problem}") from error


def _figures(tables: Any, record: Any, out: Path, settings: Settings) -> list[str]:
    """Write the figures of all measures or of some, and return their names."""
    from fairseq_lottery.analysis.report.figure_files import write_figures
    from fairseq_lottery.analysis.report.sweep_rows import sweep_of
    from fairseq_lottery.analysis.sweep.chosen_measures import choose_measures

    names: Any = record.measures
    if settings.measures:
        names = choose_measures(replace(settings, sieves=()))  # sieves do not change the names
    chosen = {
        command: [row for row in rows if row["measure"] in names]
        for command, rows in tables.items()
    }
    return write_figures(sweep_of(chosen, record), out / "figures")


def _print(out: Path, record: Any, figures: int) -> None:
    counts = record.counts
    numbers = " and ".join(f"{count} {side}" for side, count in counts.items())
    words = f", {numbers} words" if counts else ""
    print(f"{out}: {len(record.cells)} cells, against {record.against}{words}")
    for command, rows in record.rows.items():
        names = [name for name, one in record.measures.items() if one.command == command]
        print(f"  {command}.csv: {rows} rows, {', '.join(names)}")
    if figures:
        print(f"  figures/: {figures} figures as PDF, SVG, PNG and CSV")
    reasons: dict[str, list[str]] = {}
    for one in record.skipped:
        reasons.setdefault(one.reason, []).append(one.task)
    for reason, tasks in reasons.items():
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        print(f"  left out: {tasks[0]}{more}: {reason}")


class _Progress:
    """A bar on a terminal; else a line per cell, for logs."""

    def __enter__(self) -> _Progress:
        from tqdm import tqdm

        self._bar: Any = tqdm(unit=" measures", disable=None)
        self._last = ""
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, task: Any, done: int, total: int) -> None:
        """Show the task that starts."""
        cell = task.cells[0].name
        if self._bar.disable:
            if cell != self._last:
                print(f"{done} of {total} measures: {cell}", file=sys.stderr, flush=True)
        else:
            self._bar.total = total
            self._bar.n = done
            self._bar.set_description(task.name)
        self._last = cell
