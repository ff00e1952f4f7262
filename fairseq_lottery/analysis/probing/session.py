"""``ProbeSession``: recordings of one or several models, and the tasks to probe them for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from fairseq_lottery.analysis.labels.column_files import LAST
from fairseq_lottery.analysis.labels.label_file import LabelFile, read_labels
from fairseq_lottery.analysis.probing.probe import Portion, Portions
from fairseq_lottery.analysis.probing.split import PORTIONS, split_sentences
from fairseq_lottery.analysis.probing.task import BOTH, Task, make_tasks
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import refuse_missing, sha256_of

#: part of a label file's path that is replaced by the subset of the recording
SUBSET = "{subset}"
#: kind of labels -> sides of their words
SIDES = {"source": ("source",), "target": ("target",), "alignment": BOTH}


@dataclass(frozen=True)
class LabelSource:
    """A file of labels as it is asked for.

    Attributes:
        path: its path, in which ``{subset}`` is replaced by the subset of the recording.
        kind: a key of ``SIDES``.
        tasks: labels to read from it; empty for the default of its format.
        name: name of its tasks; by default that of the labels in CoNLL-U, otherwise the file's.
    """

    path: str
    kind: str = "source"
    tasks: tuple[str, ...] = ()
    name: Optional[str] = None

    @classmethod
    def parse(cls, text: str, kind: str) -> LabelSource:
        """Parse ``[NAME=]FILE[:TASK,TASK]``."""
        name, equals, path = text.partition("=")
        if not equals or "/" in name:
            name, path = "", text
        file, colon, tasks = path.rpartition(":")
        if not colon or not file or "/" in tasks:
            file, tasks = path, ""
        return cls(file, kind, tuple(filter(None, tasks.split(","))), name or None)

    def name_of(self, task: str, file: LabelFile) -> str:
        """Return the name of a task of its file."""
        if self.name is not None:
            return self.name if len(file.tasks) == 1 else f"{self.name}.{task}"
        if self.kind == "alignment":
            return "alignment" if len(file.tasks) == 1 else f"alignment.{task}"
        if file.format == "conllu":
            return task if self.kind == "source" else f"target.{task}"
        return file.path.name if task == LAST else f"{file.path.name}.{task}"


@dataclass
class ProbeSession:
    """Label files, read once, and what makes tasks of them.

    Attributes:
        sources: the label files.
        scores: names of tasks whose labels are numbers.
        format: a name of ``FORMATS``, for all files but alignments; None to find it.
        shares: shares of sentences for training, development and test.
        split_seed: seed of the division, and of negative pairs.
    """

    sources: Sequence[LabelSource]
    scores: Sequence[str] = ()
    format: Optional[str] = None
    shares: Sequence[float] = (0.8, 0.1, 0.1)
    split_seed: int = 1
    _files: dict[tuple[str, str, tuple[str, ...]], LabelFile] = field(default_factory=dict)

    def portions(self, recordings: Sequence[Recording]) -> list[Portions]:
        """Return the three parts of each task.

        Args:
            recordings: one recording, which is divided; or three of the same model: for training,
                development and test.

        Raises:
            LotteryError: labels do not match, or recordings are of different models.
        """
        if len({recording.record.weights for recording in recordings}) > 1:
            raise LotteryError(
                f"{recordings[0].folder}, --dev and --test are recordings of different models;"
                " record all with the same checkpoint"
            )
        by_recording = [self._tasks(recording) for recording in recordings]
        if len(recordings) == 1:
            record = recordings[0].record
            parts = split_sentences(record.sentences, record.of, self.shares, self.split_seed)
            return [
                Portions(*(Portion(recordings[0], task.of(parts[name])) for name in PORTIONS))
                for task in by_recording[0]
            ]
        return [
            Portions(*(Portion(recording, task) for recording, task in zip(recordings, tasks)))
            for tasks in zip(*by_recording)
        ]

    def digests(self) -> dict[str, str]:
        """Return path -> SHA-256 of the label files that were read."""
        return {str(file.path): sha256_of(file.path) for file in self._files.values()}

    def _tasks(self, recording: Recording) -> list[Task]:
        tasks: dict[str, Task] = {}
        for source in self.sources:
            file = self._file(source, recording.record.subset)
            names = {task: source.name_of(task, file) for task in file.tasks}
            for task in make_tasks(
                recording, SIDES[source.kind], file, names, self.scores, self.split_seed
            ):
                if task.name in tasks:
                    raise LotteryError(
                        f"two tasks are called {task.name}; name one of the files: NAME=FILE"
                    )
                tasks[task.name] = task
        missing = [name for name in self.scores if name not in tasks]
        if missing:
            raise LotteryError(
                f"--scores {missing[0]} is not a task; choose from {', '.join(tasks)}"
            )
        return list(tasks.values())

    def _file(self, source: LabelSource, subset: str) -> LabelFile:
        path = source.path.replace(SUBSET, subset)
        key = path, source.kind, source.tasks
        if key not in self._files:
            refuse_missing(path)
            format = "alignment" if source.kind == "alignment" else self.format
            self._files[key] = read_labels(path, source.tasks, format)
        return self._files[key]
