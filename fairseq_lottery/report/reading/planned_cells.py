"""What a plan says about cells: which are planned, and which quantity their shares are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import ROWS, WEIGHTS, Plan
from fairseq_lottery.report.reading.data_sets import RECORDS
from fairseq_lottery.report.reading.records import Run
from fairseq_lottery.report.reading.table_words import Cell


def kinds_of(runs: Sequence[Run]) -> list[str]:
    """Return the quantities of the techniques' shares; weights if there is only the dense model."""
    kinds = set()
    for run in runs:
        names = {record.technique for kind in RECORDS for record in getattr(run, kind)}
        names |= {technique.name for technique in run.plan.techniques}
        kinds |= {run.plan.rows_of(name) for name in names - {DENSE}}
    return [rows for rows in ROWS if rows in kinds] or [WEIGHTS]


def is_of(plan: Plan, rows: str) -> Callable[[str], bool]:
    """Return a function that recognises the dense model, and techniques of one kind of rows."""
    return lambda technique: technique == DENSE or plan.rows_of(technique) == rows


def cell_key(record: Any) -> Cell:
    """Return the cell of a record or of an entry of a plan."""
    return record.technique, record.sparsity, record.seed


def planned_cells(plan: Plan) -> set[Cell]:
    """Return the cells of a plan; old plans have every technique at every sparsity."""
    if plan.cells:
        return {cell_key(cell) for cell in plan.cells}
    pruned = [item.name for item in plan.techniques if item.name != DENSE]
    cells = {(t, s, seed) for t in pruned for s in plan.sparsities if s for seed in plan.seeds}
    return cells | {(DENSE, 0.0, seed) for seed in plan.seeds}
