"""The plan and its cost, for a reader and for a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fairseq_lottery.workflow.planning.cost import Cost
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.stage import TRAINED
from fairseq_lottery.workflow.planning.state import Work


def as_json(plan: Plan, work: Work, cost: Cost, jobs: int) -> dict[str, Any]:
    """Everything ``-n`` says, with its numbers unrounded: hours, seconds and bytes."""
    pending = {stage.folder for stage in work.pending if stage.kind in TRAINED}
    out = plan.configuration.out
    return {
        "title": plan.configuration.title,
        "out": str(plan.configuration.out),
        "cells": len(plan.cells),
        "trainings": plan.trained,
        "trainings_without_sharing": plan.unshared,
        "pending": {
            "stages": len(work.pending),
            "trainings": cost.trainings,
            "updates": cost.updates,
            "device_hours": cost.hours,
            "device": "GPU" if plan.configuration.resources.gpus else "CPU",
            "critical_path_seconds": cost.critical,
            "jobs": jobs,
            "wall_seconds": cost.wall,
            "peak_bytes": cost.peak,
            "final_bytes": cost.final,
            "known_from": cost.rates.basis,
        },
        "repeats": [
            {"training": r.stage.folder, "why": r.why, "updates": r.stage.facts["updates"]}
            for r in work.repeats
        ],
        "plan": [
            {
                "cell": cell.name,
                "training": cell.training.folder,
                "state": _state(out, cell.training.folder, pending),
                "drawn_from": [parent.folder for parent in cell.training.parents],
            }
            for cell in plan.cells
        ],
    }


def _state(out: Path, folder: str, pending: set[str]) -> str:
    if folder in pending:
        return "pending"
    trained = any((out / folder / f"{kind}.json").is_file() for kind in TRAINED)
    return "trained" if trained else "not asked for"


def show(console: Console, plan: Plan, work: Work, cost: Cost, jobs: int) -> None:
    """Print the plan: a line per technique, then what it costs."""
    table = Table(title=plan.configuration.title, title_justify="left")
    for heading, justify in (
        ("technique", "left"), ("sparsities", "left"), ("seeds", "left"),
        ("cells", "right"), ("to train", "right"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    pending = {stage.folder for stage in work.pending if stage.kind == "train"}
    for name in dict.fromkeys(cell.technique for cell in plan.cells):
        cells = [cell for cell in plan.cells if cell.technique == name]
        table.add_row(
            name,
            " ".join(dict.fromkeys(f"{cell.sparsity:g}" for cell in cells)),
            " ".join(dict.fromkeys(str(cell.seed) for cell in cells)),
            str(len(cells)),
            str(sum(cell.training.folder in pending for cell in cells)),
        )
    console.print(table)
    for line in lines(plan, work, cost, jobs):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def lines(plan: Plan, work: Work, cost: Cost, jobs: int) -> list[str]:
    """What the plan costs, in words."""
    device = "GPU" if plan.configuration.resources.gpus else "CPU"
    found = [
        f"{len(plan.cells)} cells by {plan.trained} trainings"
        f" ({plan.unshared} if none were shared)",
        f"to do: {cost.trainings} trainings, {cost.updates:,} updates, {len(work.pending)} stages",
    ]
    if cost.hours is None or cost.critical is None or cost.wall is None:
        found.append(f"time: known from {cost.rates.basis}")
    else:
        found.append(
            f"time: {cost.hours:,.1f} {device}-hours of training; {_time(cost.critical)} on the"
            f" longest chain, {_time(cost.wall)} with --jobs {jobs}"
            f" (known from {cost.rates.basis})"
        )
    if cost.peak is None or cost.final is None:
        found.append("disk: unknown without the number of parameters")
    else:
        peak, final = cost.peak / 1e9, cost.final / 1e9
        found.append(f"disk: at most {peak:.2f} GB more, {final:.2f} GB more at the end")
    found += [f"again: {r.stage.title}: {r.why}" for r in work.repeats]
    return found


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
