"""Linear mode connectivity along a sweep: the line between each two children of one update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Measure, Row
from fairseq_lottery.analysis.sweep.cells import Cell
from fairseq_lottery.analysis.sweep.settings import Device
from fairseq_lottery.analysis.sweep.tasks import LOSS, Task
from fairseq_lottery.analysis.weights.children import children_of
from fairseq_lottery.report.reading.records import read_run

CONNECT = "connect"


def connect_measure(subset: str, device: Device) -> Measure:
    """Return the measure of the line between two models; see ``fairseq-lottery connect``."""
    function = partial(_connection_rows, subset=subset, device=device)
    return Measure(
        CONNECT, CONNECT, LOSS, 2, "linear mode connectivity", (0.0, None), function,
        in_report=("loss-barrier", "error-barrier"),
    )  # fmt: skip


def _connection_rows(a: ModelFile, b: ModelFile, subset: str, device: Device) -> Iterator[Row]:
    from fairseq_lottery.analysis.weights.connectivity import connect

    line = connect(a.name, b.name, device.data, subset, tokens=device.tokens, cpu=device.cpu)
    yield from line.rows()


def connection_tasks(cells: Sequence[Cell], measure: Measure) -> Iterator[Task]:
    """Yield a task for each two children of an update in the folders of some cells.

    Raises:
        LotteryError: the last checkpoint of a child is not kept.
    """
    for first in {cell.run: cell for cell in cells}.values():
        for children in children_of(read_run(first.run)):
            place = children.sparsity, children.seed
            ends = {
                order: Cell(children.techniques[order], *place, file, first.run, first.recipe)
                for order, file in children.models.items()
            }
            for orders in children.pairs:
                placed = replace(
                    measure, function=partial(_with, children.columns(orders), measure)
                )
                yield Task(placed, tuple(ends[order] for order in orders))


def _with(columns: Row, measure: Measure, *models: ModelFile) -> Iterator[Row]:
    for row in measure.function(*models):
        yield {**columns, **row}
