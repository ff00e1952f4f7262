"""Reading a workflow folder: its records beside its plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import Choice, Curve, Importance, Model, Score, read_records
from fairseq_lottery.records.plan import Plan, read_plan


@dataclass(frozen=True)
class Run:
    """A workflow folder as read; the paths in its records are relative to ``folder``."""

    folder: Path
    plan: Plan
    scores: tuple[Score, ...]
    curves: tuple[Curve, ...]
    models: tuple[Model, ...]
    choices: tuple[Choice, ...]
    importance: tuple[Importance, ...]


def read_run(folder: Union[str, Path]) -> Run:
    """Read a workflow folder; its files' contents are read when they are needed.

    Raises:
        LotteryError: no such folder, no ``records.jsonl`` or ``plan.json``, or a line or an
            entry that is not what it should be (the sentence says which).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LotteryError(f"there is no folder {folder}; name an --out of fairseq-lottery run")
    plan = read_plan(folder)
    found: dict[type, list[Any]] = {kind: [] for kind in (Score, Curve, Model, Choice, Importance)}
    for record in read_records(folder):
        found[type(record)].append(record)
    return Run(folder, plan, *map(tuple, found.values()))
