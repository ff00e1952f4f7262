"""F1 of single labels, as of a rare class or of a type of spans."""

from __future__ import annotations

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.probing.spans import span_f1, spans
from fairseq_lottery.analysis.probing.task import PEARSON, SPAN_F1, Task

#: statistic of rows whose column ``label`` names the label
F1 = "f1"


def labels_of(task: Task) -> list[str]:
    """Return the labels of a task that have an F1: its classes, or the types of its spans."""
    if task.score == PEARSON:
        return []
    if task.score == SPAN_F1:
        return sorted({kind for own in by_sentence(task, task.labels) for *_, kind in spans(own)})
    return sorted(set(task.labels.tolist()))


def label_f1(task: Task, predicted: Array, label: str, score: str) -> float:
    """Return the F1 of a label: 2 TP / (2 TP + FP + FN); 0 if none is correct.

    Args:
        task: the examples.
        predicted: predicted label of each example.
        label: a name of ``labels_of``.
        score: score of the task; with ``span-f1`` the label is a type of spans.
    """
    if score == SPAN_F1:
        return span_f1(by_sentence(task, task.labels), by_sentence(task, predicted), label)
    gold, guessed = task.labels == label, predicted == label
    total = int(gold.sum() + guessed.sum())
    return 2 * int((gold & guessed).sum()) / total if total else 0.0


def by_sentence(task: Task, labels: Array) -> list[list[str]]:
    """Return the labels of the examples of each sentence."""
    cuts = np.flatnonzero(np.diff(task.sentences)) + 1
    return [one.tolist() for one in np.split(labels, cuts)]
