"""``Cell``: a trained model of a run folder, found by the folder's plan and records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.plan import TrainedFacts
from fairseq_lottery.records.schema import parse
from fairseq_lottery.report.reading.records import Run, read_run
from fairseq_lottery.report.reading.table_words import slug

#: in place of a technique, the weights that a cell's training started from
START = "start"


@dataclass(frozen=True)
class Cell:
    """A cell of a sweep and its selected model.

    Attributes:
        technique, sparsity, seed: its place in the sweep; the dense model has sparsity 0.
        file: the selected model, that of the first evaluation.
        run: folder of the workflow that trained it.
        recipe: text that is equal for runs of one recipe.
        start: file of the weights that its training started from; None if it was not kept.
    """

    technique: str
    sparsity: float
    seed: int
    file: Path
    run: Path
    recipe: str
    start: Optional[Path] = None

    @property
    def name(self) -> str:
        """Name in messages, as ``--only`` of ``fairseq-lottery run`` takes it."""
        return f"{self.technique}@{self.sparsity:g}#{self.seed}"

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{slug(self.technique)}-{self.sparsity:g}-seed{self.seed}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its model."""
        return sha256_of(self.file)

    @cached_property
    def at_start(self) -> Optional[Cell]:
        """The model at the start of its training; None if it was not kept."""
        if self.start is None:
            return None
        return replace(self, technique=START, file=self.start, start=None)


def find_cells(runs: Sequence[Union[str, Path]]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of run folders that have a model, and those whose model is missing.

    Cells of one technique and sparsity are adjacent, by seed; the dense models are first.

    Raises:
        LotteryError: a folder cannot be read, is given twice, or has a cell of another folder.
    """
    folders = [Path(run).resolve() for run in runs]
    cells: dict[tuple[str, str, float, int], Cell] = {}
    for place, folder in enumerate(folders):
        if folder in folders[:place]:
            raise LotteryError(f"{runs[place]} is given twice; give it once")
        for cell in _cells_of(read_run(folder)):
            key = (cell.recipe, cell.technique, cell.sparsity, cell.seed)
            first = cells.setdefault(key, cell)
            if first.run != cell.run:
                raise LotteryError(
                    f"{first.run} and {cell.run} both have the cell {cell.name}; omit one of them"
                )
    if not cells:
        raise LotteryError(
            f"{', '.join(map(str, runs))}: no model is evaluated yet; resume fairseq-lottery run"
        )
    techniques = list(dict.fromkeys(cell.technique for cell in cells.values()))

    def order(cell: Cell) -> tuple[bool, int, float, int]:
        return (
            cell.technique != DENSE, techniques.index(cell.technique), cell.sparsity, cell.seed,
        )  # fmt: skip

    ordered = sorted(cells.values(), key=order)
    present = [cell for cell in ordered if is_plain(cell.file)]
    return present, [cell for cell in ordered if cell not in present]


def _cells_of(run: Run) -> list[Cell]:
    recipe = json.dumps([run.plan.recipe, run.plan.published], sort_keys=True)
    cells: dict[tuple[str, float, int], Cell] = {}
    for model in run.models:  # the first model of a cell is that of its first evaluation
        key = (model.technique, model.sparsity, model.seed)
        if key not in cells:
            start = _start_of(run, model.training)
            cells[key] = Cell(*key, run.folder / model.file, run.folder, recipe, start)
    return list(cells.values())


def _start_of(run: Run, training: str) -> Optional[Path]:
    """Return the file of the weights that a training started from; None if it was not kept.

    It is the training's own snapshot of its first update, or else its ticket. A model that is
    pruned and not trained has no start.
    """
    for stage in run.plan.stages:
        if stage.folder == training and stage.kind in ("train", "adopt"):
            first = parse(TrainedFacts, stage.facts).first_update
            files = (f"snapshot_{first}.safetensors", "ticket.safetensors")
            return next(
                (f for f in (run.folder / training / n for n in files) if is_plain(f)), None
            )
    return None
