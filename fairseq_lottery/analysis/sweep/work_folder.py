"""``WorkFolder``: recordings and rows of a sweep on the disk, from which a killed one resumes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery.analysis.recording.corpus import read_corpus
from fairseq_lottery.analysis.recording.encoder_input import refuse_other_models
from fairseq_lottery.analysis.recording.recorder import record
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.sweep.cells import Cell
from fairseq_lottery.analysis.sweep.chosen_measures import inputs_of
from fairseq_lottery.analysis.sweep.settings import Device, Settings
from fairseq_lottery.analysis.sweep.tasks import Task
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import sha256_of, writing_in
from fairseq_lottery.formats import read_source
from fairseq_lottery.inference.loaded_model import load_for_evaluation
from fairseq_lottery.records.json_files import read_file, write_file
from fairseq_lottery.records.schema import Count, Text


@dataclass(frozen=True)
class Rows:
    """Content of the file of a task's rows, with digests of what they were computed from."""

    inputs: dict[Text, Text]
    rows: tuple[dict[Text, Any], ...]


@dataclass(frozen=True)
class Counts:
    """Side -> number of recorded words."""

    counts: dict[Text, Count]


@dataclass(frozen=True)
class WorkFolder:
    """The folder of an analysis.

    Attributes:
        path: its path.
        settings: settings of the analysis.
        device: how models are run.
        first: a cell whose training names the data folder.
    """

    path: Path
    settings: Settings
    device: Device
    first: Cell

    @cached_property
    def data(self) -> Path:
        """The data folder.

        Raises:
            LotteryError: it does not exist, or lacks the subset.
        """
        source = read_source(self.first.file)
        refuse_other_models(source.adapter, source.path)
        try:
            folder = source.adapter.find_folder(source.settings.task, self.device.data).path
        except LotteryError as error:
            raise LotteryError(
                f"the data folder of {self.first.file} is not found: {error}; give it with --data"
            ) from None
        if not _files_of(folder, self.settings.subset):
            raise LotteryError(f"{folder} has no subset {self.settings.subset}; name another one")
        return folder

    @cached_property
    def label(self) -> str:
        """Name of the settings and the data of recordings, for folders."""
        half = "-half" if self.settings.half else ""
        return f"{self.settings.subset}-{self.settings.words}{half}-{self._digest}"

    @cached_property
    def _digest(self) -> str:
        """Start of the SHA-256 of each file of the subset."""
        files = _files_of(self.data, self.settings.subset)
        return "".join(sha256_of(file)[:4] for file in files if file.suffix in (".bin", ".idx"))

    def _label_of(self, task: Task) -> str:
        """Return the name of what a task reads besides models, for folders."""
        if task.reads_recordings:
            return self.label
        return f"{self.settings.subset}-{self._digest}" if task.reads_data else "files"

    @cached_property
    def has_data(self) -> bool:
        """Whether the data folder is known, which measures of files do not require."""
        try:
            return bool(self.data)
        except LotteryError:
            return False

    def inputs(self, task: Task) -> dict[str, str]:
        """Return what determines the rows of a task."""
        inputs = {f"model {n}": cell.digest for n, cell in enumerate(task.cells, 1)}
        if task.reads_data:
            inputs["words"] = self._label_of(task)
        return {**inputs, **inputs_of(task.measure.name, self.settings)}

    def read_rows(self, task: Task) -> Optional[Sequence[Row]]:
        """Return the rows of a finished task; None if it has not finished with these inputs."""
        stored = read_file(self._rows_file(task), Rows)
        return stored.rows if stored and stored.inputs == self.inputs(task) else None

    def write_rows(self, task: Task, rows: Sequence[Row]) -> None:
        """Write the rows of a task atomically."""
        path = self._rows_file(task)
        with writing_in(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, {"inputs": self.inputs(task), "rows": list(map(dict, rows))})

    def _rows_file(self, task: Task) -> Path:
        return self.path / "rows" / self._label_of(task) / task.file

    def recording(self, cell: Cell, advance: Callable[[int], Any] = lambda _: None) -> Recording:
        """Return the recording of a cell's model; record it, unless it exists already.

        Args:
            advance: called with the number of sentences that were recorded since its last call.

        Raises:
            LotteryError: the model cannot be recorded.
        """
        folder = self._recording_folder(cell)
        if _note(folder) != cell.digest:
            shutil.rmtree(folder, ignore_errors=True)  # of a model that was trained again
        elif (folder / "record.json").is_file():
            return self._counted(Recording.open(folder))
        with writing_in(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _note_file(folder).write_text(cell.digest, encoding="utf-8")
        loaded = load_for_evaluation(cell.file, self.device.data, self.device.cpu)
        corpus = read_corpus(loaded, self.settings.subset, words=self.settings.words)
        precision = "float16" if self.settings.half else "float32"
        return self._counted(record(loaded, corpus, folder, self.device.tokens, precision, advance))

    @property
    def counts(self) -> dict[str, int]:
        """Side -> number of recorded words; empty before the first recording."""
        stored = read_file(self._counts_file, Counts)
        return {} if stored is None else stored.counts

    def _counted(self, recording: Recording) -> Recording:
        """Write the number of words, which outlives discarded recordings."""
        if not self._counts_file.is_file():
            write_file(self._counts_file, {"counts": recording.record.counts})
        return recording

    @property
    def _counts_file(self) -> Path:
        return self.path / "recordings" / self.label / "counts.json"

    def discard(self, cell: Cell) -> None:
        """Delete the recording of a cell."""
        shutil.rmtree(self._recording_folder(cell), ignore_errors=True)

    def _recording_folder(self, cell: Cell) -> Path:
        return self.path / "recordings" / self.label / cell.folder


def _files_of(data: Path, subset: str) -> list[Path]:
    """Return the files of a subset; ``sentence_prediction`` has a folder for each input."""
    return sorted(data.glob(f"{subset}.*")) or sorted(data.glob(f"*/{subset}.*"))


def _note_file(folder: Path) -> Path:
    return folder.parent / f"{folder.name}.sha256"


def _note(folder: Path) -> str:
    """Return the digest of the file whose model a folder records; empty if unknown."""
    try:
        return _note_file(folder).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
