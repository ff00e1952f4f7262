"""``Task``: labelled words, or pairs of words, of a recording; what a probe predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.labels.label_file import ARC, LabelFile, Labels, Pair
from fairseq_lottery.analysis.labels.matching import match_labels
from fairseq_lottery.analysis.probing.spans import are_span_labels
from fairseq_lottery.analysis.recording.recording import PARTS, Recording
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.streams import raw_bits

#: labels of arc prediction
IS_ARC, NO_ARC = "arc", "none"
#: scores of a task
ACCURACY, SPAN_F1, PEARSON = "accuracy", "span-f1", "pearson"
#: sides of the words of a task of ``--alignment``
BOTH = ("source", "target")


@dataclass(frozen=True)
class Task:
    """Examples of a recording.

    Attributes:
        name: its name in tables.
        parts: part of the model for each word of an example: one part for words, two for pairs.
        rows: rows of activations of the words of each example, (examples, words), int64.
        sentences: number in the subset of each example's sentence, int64.
        labels: label of each example: text, or float64 for scores.
        types: first word of each example, of which control labels are a function.
    """

    name: str
    parts: tuple[str, ...]
    rows: Array
    sentences: Array
    labels: Array
    types: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def part(self) -> str:
        """Part of the model whose layers are probed."""
        return self.parts[-1]

    @property
    def score(self) -> str:
        """Name of its score: accuracy, F1 of spans for BIO labels, Pearson's r for numbers."""
        if self.labels.dtype.kind == "f":
            return PEARSON
        return SPAN_F1 if are_span_labels(self.labels.tolist()) else ACCURACY

    def of(self, sentences: Array) -> Task:
        """Return the examples in some sentences."""
        chosen = np.isin(self.sentences, sentences)
        return replace(
            self,
            rows=self.rows[chosen],
            sentences=self.sentences[chosen],
            labels=self.labels[chosen],
            types=self.types[chosen],
        )

    def vectors(self, recording: Recording, layer: int) -> Array:
        """Return the input of probes, (examples, width) or (examples, 3 * width), fp32.

        A pair is [w1; w2; w1 * w2] (Liu et al. 2019, section 2). With words of both sides, w1 is
        that of the encoder's last layer, which is what the decoder attends to.

        Raises:
            LotteryError: a value is not finite, or encoder and decoder have different widths.
        """
        columns = []
        for part, rows in zip(self.parts, self.rows.T):
            number = layer if part == self.part else recording.record.layers[part]
            stored = recording.activations(part, number)
            columns.append(np.asarray(stored[rows], dtype=np.float32))
        if len({column.shape[1] for column in columns}) > 1:
            raise LotteryError(
                f"encoder and decoder of {recording.folder} have different widths, so words of both"
                " cannot be multiplied; leave --alignment out"
            )
        if len(columns) == 2:
            columns.append(columns[0] * columns[1])
        vectors = np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]
        if not np.isfinite(vectors).all():
            raise LotteryError(
                f"layer {layer} of the {self.part} in {recording.folder} has NaN or infinity;"
                " record it again without --half"
            )
        return vectors


def make_tasks(
    recording: Recording,
    sides: Sequence[str],
    file: LabelFile,
    names: Mapping[str, str],
    scores: Sequence[str] = (),
    seed: int = 1,
) -> list[Task]:
    """Return the tasks of a label file on a recording.

    Args:
        sides: ``("source",)`` or ``("target",)``, or ``BOTH`` for pairs of a source and a target
            word.
        names: task of the file -> its name in tables.
        scores: names of tasks whose labels are numbers.
        seed: seed of the negative pairs.

    Raises:
        LotteryError: the labels do not match the words, or a label of ``scores`` is not a number.
    """
    labels = match_labels(recording, sides, file)
    tasks = []
    for task in file.tasks:
        name = names[task]
        if task in file.sentences[0].values:
            one = _words(recording, sides, labels, task, name)
        else:
            one = _pairs(recording, sides, labels, task == ARC, name, seed)
        tasks.append(_numbers(one, file) if name in scores else one)
    return tasks


def _words(
    recording: Recording, sides: Sequence[str], labels: Sequence[Labels], task: str, name: str
) -> Task:
    words = recording.words(sides[0])
    numbers = np.repeat(np.array(recording.record.sentences), recording.lengths(sides[0]))
    values = [value for one in labels for value in one.values[task]]
    chosen = np.array([value is not None for value in values], dtype=bool)
    rows = np.flatnonzero(chosen)
    types = np.array([word for one in words for word in one], dtype=object)
    return Task(
        name,
        (PARTS[sides[0]],),
        rows[:, None],
        numbers[rows],
        np.array(values, dtype=object)[rows],
        types[rows],
    )


def _pairs(
    recording: Recording,
    sides: Sequence[str],
    labels: Sequence[Labels],
    is_prediction: bool,
    name: str,
    seed: int,
) -> Task:
    sides = sides if len(sides) == 2 else (sides[0], sides[0])
    starts = [np.cumsum(recording.lengths(side)) - recording.lengths(side) for side in sides]
    rows, numbers, values, types = [], [], [], []
    for place, (number, one) in enumerate(zip(recording.record.sentences, labels)):
        words = [recording.words(side)[place] for side in sides]
        pairs = one.pairs
        if is_prediction:
            key = f"probe-negatives|{seed}|{name}|{recording.record.subset}|{number}"
            pairs = (
                *((i, j, IS_ARC) for i, j, _ in pairs),
                *negatives(pairs, len(words[1]), sides[0] == sides[1], key),
            )
        for i, j, value in pairs:
            rows.append((starts[0][place] + i, starts[1][place] + j))
            numbers.append(number)
            values.append(value)
            types.append(words[0][i])
    return Task(
        name,
        tuple(PARTS[side] for side in sides),
        np.array(rows, dtype=np.int64).reshape(-1, 2),
        np.array(numbers, dtype=np.int64),
        np.array(values, dtype=object),
        np.array(types, dtype=object),
    )


def negatives(pairs: Sequence[Pair], count: int, is_same_side: bool, key: str) -> Iterator[Pair]:
    """Yield a negative for each arc: its first word, and a random word that no arc joins with it.

    Liu et al. 2019 draw negatives in this way. The random word differs from the first word. An arc
    whose first word is joined with every other word has no negative.

    Args:
        pairs: the arcs of a sentence: (dependent, head, label).
        count: number of words from which the second word is drawn.
        is_same_side: whether both words are from the same sentence.
        key: name of the random stream.
    """
    bits = raw_bits(key, len(pairs)).tolist()
    for (i, _, _), number in zip(pairs, bits):
        joined = {j for k, j, _ in pairs if k == i}
        if is_same_side:
            joined.add(i)
        candidates = [j for j in range(count) if j not in joined]
        if candidates:
            yield i, candidates[number % len(candidates)], NO_ARC


def _numbers(task: Task, file: LabelFile) -> Task:
    values: list[Any] = []
    for label in task.labels:
        try:
            values.append(float(label))
        except ValueError:
            raise LotteryError(
                f"{file.path} has the label {label!r}, which is not a number, in {task.name}; leave"
                " it out of --scores"
            ) from None
    numbers = np.array(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise LotteryError(f"{file.path} has a label of {task.name} that is not finite")
    return replace(task, labels=numbers)
