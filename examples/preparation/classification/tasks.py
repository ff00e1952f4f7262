"""GLUE's tasks: columns of their tables, labels in the order of the classes, and sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

#: natural language inference, in the order of fairseq's roberta.large.mnli
INFERENCE = ("contradiction", "neutral", "entailment")
#: set here -> file in an archive of GLUE
SETS = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}
MNLI_SETS = {
    "train": "train.tsv",
    "valid": "dev_matched.tsv",
    "valid1": "dev_mismatched.tsv",
    "test": "test_matched.tsv",
    "test1": "test_mismatched.tsv",
}


@dataclass(frozen=True)
class GlueTask:
    """A task of GLUE.

    Attributes:
        inputs: columns of the first sentence, and of the second if there are two.
        label: column of the label; test sets have none.
        labels: the labels in the order of the classes; empty for a score.
        largest: largest score, by which scores are divided; 0 for labels.
        header: columns of sets whose table has no header line.
        sets: set -> file in the archive.
        metrics: metrics that are reported for the task.
    """

    inputs: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    metrics: str
    largest: float = 0.0
    header: Optional[tuple[str, ...]] = None
    sets: Mapping[str, str] = field(default_factory=lambda: SETS)

    @property
    def classes(self) -> int:
        """Return the value of ``--num-classes``: 1 for a score."""
        return len(self.labels) or 1


_PAIR = ("sentence1", "sentence2")
_BINARY = ("0", "1")
_ENTAILMENT = ("entailment", "not_entailment")
TASKS = {
    "CoLA": GlueTask(
        ("sentence",),
        "is_acceptable",
        _BINARY,
        "Matthews correlation",
        header=("source", "is_acceptable", "mark", "sentence"),
    ),
    "SST-2": GlueTask(("sentence",), "label", _BINARY, "accuracy"),
    "MRPC": GlueTask(
        ("#1 String", "#2 String"),
        "Quality",
        _BINARY,
        "accuracy and F1",
    ),
    "STS-B": GlueTask(_PAIR, "score", (), "Pearson and Spearman correlation", largest=5.0),
    "QQP": GlueTask(("question1", "question2"), "is_duplicate", _BINARY, "accuracy and F1"),
    "MNLI": GlueTask(_PAIR, "gold_label", INFERENCE, "accuracy", sets=MNLI_SETS),
    "QNLI": GlueTask(("question", "sentence"), "label", _ENTAILMENT, "accuracy"),
    "RTE": GlueTask(_PAIR, "label", _ENTAILMENT, "accuracy"),
    "WNLI": GlueTask(_PAIR, "label", _BINARY, "accuracy"),
}
