"""``analyze``: compute the measures of all cells of run folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery import __version__
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Measure, Row
from fairseq_lottery.analysis.sweep.cells import Cell
from fairseq_lottery.analysis.sweep.chosen_measures import choose_measures
from fairseq_lottery.analysis.sweep.connections import CONNECT, connection_tasks
from fairseq_lottery.analysis.sweep.settings import Device, Settings
from fairseq_lottery.analysis.sweep.tables import (
    FORMAT,
    CellRecord,
    MeasureRecord,
    SkippedTask,
    SweepRecord,
    by_command,
    write_tables,
)
from fairseq_lottery.analysis.sweep.tasks import Task, plan_tasks, thin
from fairseq_lottery.analysis.sweep.work_folder import WorkFolder
from fairseq_lottery.errors import CannotWriteError, LotteryError
from fairseq_lottery.files import alone_in
from fairseq_lottery.formats import read_source

#: called with a task, the number of finished tasks, and the number of all
Progress = Callable[[Task, int, int], Any]


def analyze(
    cells: Sequence[Cell],
    out: Path,
    settings: Settings = Settings(),  # noqa: B008 - it is frozen
    device: Device = Device(),  # noqa: B008
    others: Sequence[Cell] = (),
    progress: Progress = lambda task, done, total: None,
) -> tuple[SweepRecord, dict[str, list[Row]]]:
    """Compute the measures of cells, and write a table per command.

    Finished tasks are skipped, so a killed analysis resumes. The tables also have rows of earlier
    starts with other measures, if their models are unchanged.

    Args:
        cells: cells of ``find_cells``.
        out: folder of the tables, recordings and finished rows.
        settings: what is recorded and computed.
        device: how models are run.
        others: cells of other folders, which these are compared with.
        progress: called before each task that is computed.

    Returns:
        the record and the rows of each command.

    Raises:
        LotteryError: a measure is unknown, no cell is ``settings.against``, or nothing could be
            computed.
    """
    is_encoder = bool(settings.sieves) and read_source(cells[0].file).adapter.is_encoder
    chosen = choose_measures(settings, device, is_encoder)
    if settings.against not in {cell.technique for cell in (*cells, *others)}:
        raise LotteryError(
            f"--against {settings.against}: no such technique has a model; name one of"
            f" {', '.join(sorted({cell.technique for cell in (*cells, *others)}))}"
        )
    own = set(cells)
    known = {**choose_measures(replace(settings, measures=()), device, is_encoder), **chosen}
    tasks = [
        task
        for task in plan_tasks([*cells, *others], known, settings.against)
        if task.cells[0] in own
    ]
    failures = []
    try:
        tasks += connection_tasks(cells, known[CONNECT])
    except LotteryError as error:
        failures = [SkippedTask(CONNECT, str(error))] if CONNECT in chosen else []
    with alone_in(out):
        folder = WorkFolder(out, settings, device, cells[0])
        selected = [task for task in tasks if task.measure.name in chosen]
        skipped = [*_compute(folder, selected, progress), *failures]
        stored = [
            (task, folder.read_rows(task))
            for task in tasks
            if folder.has_data or not task.reads_data
        ]
        finished = [(task, rows) for task, rows in stored if rows]
        # finished ones may be of earlier starts
        if not finished or len(skipped) == len(selected) + len(failures):
            why = f": {skipped[0].reason}" if skipped else ""
            raise LotteryError(f"no measure could be computed{why}")
        tables = by_command(
            (task.measure.command, {**row, **task.columns})
            for task, rows in finished
            for row in rows
        )
        record = _record(folder, cells, [task for task, _ in finished], tables, skipped)
        write_tables(out, tables, record)
    return record, tables


def _compute(folder: WorkFolder, tasks: Sequence[Task], progress: Progress) -> list[SkippedTask]:
    """Compute the tasks that are not finished, and return those that failed."""
    pending = [task for task in tasks if folder.read_rows(task) is None]
    waiting = Counter(cell for task in pending if task.reads_recordings for cell in task.cells)
    # measures share intermediate results of a recording that stays open
    open_recording = lru_cache(maxsize=3)(folder.recording)
    open_file = lru_cache(maxsize=2)(lambda cell: ModelFile.open(cell.file))
    failures: dict[Cell, str] = {}  # cells that cannot be recorded
    skipped = []
    for number, task in enumerate(pending):
        progress(task, len(tasks) - len(pending) + number, len(tasks))
        reason = next((failures[cell] for cell in task.cells if cell in failures), None)
        if reason is None:
            open_ = open_recording if task.reads_recordings else open_file
            reason = _compute_one(folder, task, open_, failures)
        if reason is not None:
            skipped.append(SkippedTask(task.name, " ".join(reason.split())))
        if task.reads_recordings:
            waiting.subtract(task.cells)
            for cell in task.cells:
                if folder.settings.discard and not waiting[cell]:
                    folder.discard(cell)
    return skipped


def _compute_one(
    folder: WorkFolder, task: Task, open_: Callable[[Cell], Any], failures: dict[Cell, str]
) -> Optional[str]:
    """Compute a task and write its rows; return why it could not be computed, or None."""
    inputs = []
    for cell in task.inputs:
        try:
            inputs.append(open_(cell))
        except CannotWriteError:
            raise
        except LotteryError as error:
            failures[cell] = str(error)
            return str(error)
    try:
        rows = thin(task.measure.rows(*inputs))
    except LotteryError as error:
        return str(error)
    folder.write_rows(task, rows)
    return None


def _record(
    folder: WorkFolder,
    cells: Sequence[Cell],
    tasks: Sequence[Task],
    tables: Mapping[str, Sequence[Row]],
    skipped: Sequence[SkippedTask],
) -> SweepRecord:
    measures = {task.measure.name: task.measure for task in tasks}
    is_recorded = any(task.reads_recordings for task in tasks)
    reads_data = any(task.reads_data for task in tasks)
    return SweepRecord(
        format=FORMAT,
        against=folder.settings.against,
        subset=folder.settings.subset,
        words=folder.settings.words,
        data=str(folder.data) if reads_data else "",
        counts=folder.counts if is_recorded else {},
        measures={name: _of_measure(measure) for name, measure in measures.items()},
        cells=tuple(
            CellRecord(cell.technique, cell.sparsity, cell.seed, str(cell.file), cell.digest)
            for cell in cells
        ),
        rows={command: len(rows) for command, rows in tables.items()},
        skipped=tuple(skipped),
        version=__version__,
    )


def _of_measure(measure: Measure) -> MeasureRecord:
    return MeasureRecord(
        measure.title, measure.command, measure.over, *measure.limits, measure.in_report
    )


def split_by_run(cells: Sequence[Cell]) -> Iterator[tuple[Path, list[Cell], list[Cell]]]:
    """Yield each run folder, its cells, and the cells of other folders of its recipe."""
    for run in dict.fromkeys(cell.run for cell in cells):
        own = [cell for cell in cells if cell.run == run]
        yield run, own, [c for c in cells if c.run != run and c.recipe == own[0].recipe]
