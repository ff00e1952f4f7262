"""The plan and its cost as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from rich.console import Console
from rich.table import Table

from fairseq_lottery.records.plan import TRAINED
from fairseq_lottery.workflow.planning.cost import CALIBRATED, Cost
from fairseq_lottery.workflow.planning.folder_state import Work
from fairseq_lottery.workflow.planning.plan import Plan


def as_json(plan: Plan, work: Work, cost: Cost, jobs: int) -> dict[str, Any]:
    """Return the plan and its cost as JSON, in hours, seconds and bytes."""
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
        "rows": [asdict(row) for row in rows(plan, work)],
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
    return "trained" if trained else "not selected"


@dataclass(frozen=True)
class Row:
    """A row of the plan's table: a technique, or the trainings on the way to its cells.

    Attributes:
        cells: number of cells; None for trainings on the way, which have none.
        to_train: number of pending trainings that no previous row counts.
    """

    name: str
    sparsities: str
    seeds: str
    cells: Optional[int]
    to_train: int


def rows(plan: Plan, work: Work) -> Iterator[Row]:
    """Yield a row for each technique, and one for the trainings on the way to its cells.

    Every pending training counts once.
    """
    pending = {stage.folder for stage in work.pending if stage.kind == "train"}
    of_cells = {cell.training.folder for cell in plan.cells}
    for data, technique in dict.fromkeys((cell.data, cell.technique) for cell in plan.cells):
        cells = [c for c in plan.cells if (c.data, c.technique) == (data, technique)]
        name = f"{data}: {technique}" if data else technique
        own = {cell.training.folder for cell in cells} & pending
        yield Row(
            name=name,
            sparsities=_each_once(f"{cell.sparsity:g}" for cell in cells),
            seeds=_each_once(str(cell.seed) for cell in cells),
            cells=len(cells),
            to_train=len(own),
        )
        ancestors = (training for cell in cells for training in cell.training.ancestors())
        on_the_way = {t.folder: t for t in ancestors if t.folder in pending - of_cells}
        if on_the_way:
            yield Row(
                name=f"{name}, on the way",
                sparsities=_each_once(f"{run.sparsity:.3g}" for run in on_the_way.values()),
                seeds=_each_once(str(run.seed) for run in on_the_way.values()),
                cells=None,
                to_train=len(on_the_way),
            )
        pending -= own | set(on_the_way)


def _each_once(texts: Iterator[str]) -> str:
    return " ".join(dict.fromkeys(texts))


def show(console: Console, plan: Plan, work: Work, cost: Cost, jobs: int) -> None:
    """Print the plan as a table with a row per technique, then its cost."""
    table = Table(title=plan.configuration.title, title_justify="left")
    for heading, justify in (
        ("technique", "left"), ("sparsities", "left"), ("seeds", "left"),
        ("cells", "right"), ("to train", "right"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows(plan, work):
        cells = "" if row.cells is None else str(row.cells)
        table.add_row(row.name, row.sparsities, row.seeds, cells, str(row.to_train))
    console.print(table)
    for line in lines(plan, work, cost, jobs):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def lines(plan: Plan, work: Work, cost: Cost, jobs: int) -> list[str]:
    """Return lines with the number of trainings, the time, the disk, and the repeats."""
    device = "GPU" if plan.configuration.resources.gpus else "CPU"
    texts = [
        f"{len(plan.cells)} cells by {plan.trained} trainings"
        f" ({plan.unshared} if none were shared)",
        f"to do: {cost.trainings} trainings, {cost.updates:,} updates, {len(work.pending)} stages",
    ]
    unknown = []
    if cost.hours is None or cost.critical is None or cost.wall is None:
        unknown.append("time")
    else:
        texts.append(
            f"time: {cost.hours:,.1f} {device}-hours of training; {_time(cost.critical)} on the"
            f" longest chain, {_time(cost.wall)} with --jobs {jobs}"
            f" (known from {cost.rates.basis})"
        )
    if cost.peak is None or cost.final is None:
        unknown.append("disk")
    else:
        peak, final = cost.peak / 1e9, cost.final / 1e9
        texts.append(f"disk: at most {peak:.2f} GB more, {final:.2f} GB more at the end")
    if unknown:
        texts.append(
            f"{' and '.join(unknown)}: unknown; give --calibrate, which trains {CALIBRATED}"
            " updates, or set cost: in the configuration"
        )
    texts += [f"again: {r.stage.title}: {r.why}" for r in work.repeats]
    return texts


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
