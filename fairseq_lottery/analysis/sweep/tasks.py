"""``Task``: a measure of one cell, or of a cell against another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from fairseq_lottery.analysis.registry import COLUMNS, OVER, Measure, Row
from fairseq_lottery.analysis.sweep.cells import START, Cell
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.reading.table_words import slug

#: what the measure ``connect`` of children runs over: files of models and examples of the data
LOSS = "loss"
#: columns of a sweep's tables. ``against`` and ``other_seed`` are empty for measures of one model;
#: ``against`` is ``START`` if a model is compared with the start of its training
SWEEP_COLUMNS = {
    "measure": str, "technique": str, "sparsity": float, "seed": int,
    "against": str, "other_seed": int,
    **{name: kind for name, kind in COLUMNS.items() if name != "measure"},
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A measure and the cells that it is computed of.

    Attributes:
        cells: one cell, or a cell and the one that it is compared with.
    """

    measure: Measure
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.measure.name} of {' and '.join(cell.name for cell in self.cells)}"

    @property
    def inputs(self) -> tuple[Cell, ...]:
        """The cells in the order in which the measure takes them: a start is the first model."""
        return self.cells[::-1] if self.cells[-1].technique == START else self.cells

    @property
    def file(self) -> str:
        """File of its rows, relative to the folder of all rows."""
        other = "".join(f".{cell.folder}" for cell in self.cells[1:])
        return f"{self.cells[0].folder}/{slug(self.measure.name)}{other}.json"

    @property
    def reads_recordings(self) -> bool:
        """Whether it reads recordings; else files of models."""
        return OVER.get(self.measure.over) == "recording"

    @property
    def reads_data(self) -> bool:
        """Whether its rows depend on the data."""
        return self.reads_recordings or self.measure.over == LOSS

    @property
    def columns(self) -> Mapping[str, Union[str, int, float]]:
        """The columns of its rows that name the cells."""
        first = self.cells[0]
        named: dict[str, Union[str, int, float]] = {
            "technique": first.technique,
            "sparsity": first.sparsity,
            "seed": first.seed,
        }
        if len(self.cells) > 1:
            other = self.cells[1]
            named = {**named, "against": other.technique, "other_seed": other.seed}
        return named


#: components of a curve that are kept; others are left out, except the last one
_COMPONENTS = {
    *range(1, 11),
    *(m * 10**e for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8) for e in range(1, 6)),
}


def thin(rows: Iterable[Row]) -> list[Row]:
    """Return rows with round numbers of components only, and the last component of each curve.

    The curves of all matrices of a sweep would fill hundreds of megabytes.
    """
    rows = list(rows)
    ends: dict[tuple[Any, ...], int] = {}
    for row in rows:
        if "component" in row:
            ends[_curve(row)] = max(int(row["component"]), ends.get(_curve(row), 0))
    return [
        row
        for row in rows
        if "component" not in row
        or row["component"] in _COMPONENTS
        or row["component"] == ends[_curve(row)]
    ]


def _curve(row: Row) -> tuple[Any, ...]:
    return tuple(item for item in row.items() if item[0] not in ("component", "value"))


def plan_tasks(
    cells: Sequence[Cell], measures: Mapping[str, Measure], against: str = DENSE
) -> Iterator[Task]:
    """Yield all tasks of a sweep, cell by cell.

    A measure of two models compares each cell with the model ``against`` of the same seed (of the
    same sparsity, unless it is the dense model), and each two seeds of a technique at a sparsity.
    Measures of weights also compare each cell with the start of its training, if that was kept.
    Measures of masks also compare each two techniques at a sparsity and seed. They do not compare
    dense models, which have no masks.
    """
    for cell in cells:
        starts = [cell.at_start] if cell.at_start is not None else []
        groups: list[tuple[tuple[Cell, ...], Collection[str]]] = [((cell,), OVER)]
        groups += [((cell, one), OVER) for one in cells if _is_partner(cell, one, against)]
        groups += [((cell, one), ("weights",)) for one in starts]
        groups += [((cell, o), ("masks",)) for o in cells if _is_technique(cell, o, against)]
        # measures of the same models are adjacent, for they share intermediate results
        for group, kinds in groups:
            for measure in measures.values():
                fits = measure.models == len(group) and measure.over in kinds
                if fits and not _is_excluded(measure, group):
                    yield Task(measure, group)


def _is_excluded(measure: Measure, group: Sequence[Cell]) -> bool:
    if measure.same_seed and len({cell.seed for cell in group}) > 1:
        return True
    return measure.over == "masks" and any(cell.sparsity == 0 for cell in group)


def _is_partner(cell: Cell, other: Cell, against: str) -> bool:
    if cell.recipe != other.recipe:
        return False
    if other.technique == cell.technique:
        return other.sparsity == cell.sparsity and other.seed > cell.seed
    has_sparsity = against == DENSE or other.sparsity == cell.sparsity
    return other.technique == against and has_sparsity and other.seed == cell.seed


def _is_technique(cell: Cell, other: Cell, against: str) -> bool:
    """Return whether the masks of two techniques are compared; true for one order of the two."""
    if against in (cell.technique, other.technique) or cell.technique >= other.technique:
        return False
    places = [(one.recipe, one.sparsity, one.seed) for one in (cell, other)]
    return places[0] == places[1]
