"""The whole demo: stages, then the table, the plot and the record."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console

from fairseq_lottery.demo import report
from fairseq_lottery.demo.board import Board
from fairseq_lottery.demo.plan import Recipe
from fairseq_lottery.demo.plot import draw_plot
from fairseq_lottery.demo.results import measure_runs, rankings, record
from fairseq_lottery.demo.runner import run_stages
from fairseq_lottery.demo.stages import stages
from fairseq_lottery.files import replacing


def show(out: Path, seed: int, jobs: int) -> None:
    """Run what is not finished in ``out``, then measure, print and write the results."""
    begin = time.monotonic()
    recipe = Recipe(seed=seed)
    plan = stages(recipe)
    console = Console()
    with Board(console, len(plan)) as board:
        run_stages(out, plan, jobs, board)
    with console.status("measuring"):
        results = measure_runs(out)
        order = rankings(out, results)
    seconds = time.monotonic() - begin
    found = record(out, recipe, plan, results, order, seconds)
    for name, text in (
        ("results.md", report.page(recipe, results, order, seconds)),
        ("results.json", json.dumps(found, indent=1) + "\n"),
    ):
        with replacing(out / name) as path:
            path.write_text(text, encoding="utf-8")
    with replacing(out / "results.png") as path:
        draw_plot(path, results)
    console.print(report.terminal_table(results))
    for line in (report.basis(recipe), *report.order_lines(order)):
        console.print(line, highlight=False)
    names = ", ".join(str(out / f"results.{ending}") for ending in ("md", "png", "json"))
    console.print(f"{seconds:.0f} s; written: {names}", highlight=False, soft_wrap=True)
