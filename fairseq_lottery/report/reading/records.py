"""Read a workflow folder: its plan and its records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import (
    Choice,
    Cost,
    Curve,
    Importance,
    Model,
    Score,
    read_records,
)
from fairseq_lottery.records.plan import Plan, read_plan


@dataclass(frozen=True)
class DataSet:
    """One of several data sets of a plan.

    Attributes:
        title: title of the plan.
        plan: text that is equal for plans with equal data sets, recipes and published figures.
    """

    name: str
    task: str
    title: str
    plan: str


@dataclass(frozen=True)
class Run:
    """The contents of a workflow folder; paths in records are relative to ``folder``.

    Attributes:
        data_set: set if the contents are those of one of several data sets.
    """

    folder: Path
    plan: Plan
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    models: tuple[Model, ...]
    choices: tuple[Choice, ...]
    importance: tuple[Importance, ...]
    costs: tuple[Cost, ...]
    data_set: Optional[DataSet] = None


def read_run(folder: Union[str, Path]) -> Run:
    """Read the plan and the records of a workflow folder.

    Raises:
        LotteryError: the folder, ``records.jsonl`` or ``plan.json`` is missing, or an entry is
            malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LotteryError(f"there is no folder {folder}; give an --out of fairseq-lottery run")
    plan = read_plan(folder)
    kinds = (Score, Curve, Model, Choice, Importance, Cost)
    records: dict[type, list[Any]] = {kind: [] for kind in kinds}
    for record in read_records(folder):
        records[type(record)].append(record)
    scores, curves, models, choices, importance, costs = map(tuple, records.values())
    return Run(folder, plan, scores, curves, models, choices, importance, costs)
