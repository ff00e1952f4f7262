"""Runs of plans with several data sets: each data set becomes a run of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import PlannedDataSet
from fairseq_lottery.report.reading.records import DataSet, Run

#: fields of a run with records of cells
RECORDS = ("scores", "curves", "models", "choices", "importance", "costs")


def split(run: Run) -> list[Run]:
    """Return one run for each data set of the plan, with its recipe; ``run`` itself if it has one.

    Raises:
        LotteryError: a record belongs to a data set that the plan does not have.
    """
    names: list[Optional[str]] = [each.name for each in run.plan.data_sets]
    names = names or [None]
    for record in (record for kind in RECORDS for record in getattr(run, kind)):
        if record.data not in names:
            data = "no data set" if record.data is None else f"data set {record.data}"
            raise LotteryError(
                f"{run.folder}/records.jsonl has {record.technique} of {data}, which plan.json does"
                " not list; let fairseq-lottery run rewrite it"
            )
    return [_part(run, each) for each in run.plan.data_sets] or [run]


def _part(run: Run, planned: PlannedDataSet) -> Run:
    plan, name = run.plan, planned.name
    cells = tuple(cell for cell in plan.cells if cell.data == name)
    techniques = {DENSE, *(cell.technique for cell in cells)}
    own: dict[str, Any] = {
        kind: tuple(record for record in getattr(run, kind) if record.data == name)
        for kind in RECORDS
    }
    described = [[asdict(each) for each in plan.data_sets], plan.published]
    return replace(
        run,
        plan=replace(
            plan,
            title=f"{plan.title}, {name}",
            techniques=tuple(each for each in plan.techniques if each.name in techniques),
            sparsities=tuple(sorted({cell.sparsity for cell in cells})),
            seeds=tuple(sorted({cell.seed for cell in cells})),
            recipe=planned.recipe,
            cells=cells,
            data_sets=(),
        ),
        data_set=DataSet(name, planned.task, plan.title, json.dumps(described, sort_keys=True)),
        **own,
    )
