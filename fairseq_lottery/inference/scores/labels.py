"""Labels of fairseq's sentence tasks: their names, and whether they match a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError

#: name of the positive class of the metric f1, as in GLUE's data
POSITIVE = "1"
#: symbols of a dictionary of labels that are not labels; ``fairseq-preprocess`` pads to 8 symbols
_NOT_LABELS = re.compile(r"<mask>|madeupword\d{4}")


def class_names(task: Any) -> tuple[str, ...]:
    """Return the names of the classes of a fairseq task, in order; empty for other tasks."""
    labels = getattr(task, "label_dictionary", None)
    if labels is None or task.cfg.regression_target:
        return ()
    names = labels.symbols[labels.nspecial :]
    return tuple(name for name in names if not _NOT_LABELS.fullmatch(name))


def positive_class(names: Sequence[str], classes: int) -> Optional[int]:
    """Return the number of the class ``POSITIVE``; None unless it is one of two classes.

    Args:
        names: names of the classes in the data.
        classes: number of classes of the model.
    """
    return names.index(POSITIVE) if classes == 2 and POSITIVE in names[:2] else None


def refuse_unlabelled(folder: str, classes: int, is_regression: bool) -> None:
    """Refuse a missing number of classes, and a data folder without labels of classes."""
    if classes < 1:
        raise LotteryError("--num-classes is missing; give the number of classes, or of targets")
    file = Path(folder) / "label" / "dict.txt"
    if not is_regression and not file.is_file():
        raise LotteryError(
            f"the data folder {folder} has no label/dict.txt; run fairseq-preprocess on the labels,"
            " or give --regression-target"
        )


def refuse_more_classes(names: Sequence[str], classes: int, folder: Any) -> None:
    """Refuse data with more classes than the head of a model."""
    if len(names) > classes:
        raise LotteryError(
            f"the labels in {folder} have {len(names)} classes ({_listed(names)}), but the head has"
            f" {classes}; give data with the model's classes, or train with --num-classes"
            f" {len(names)}"
        )


def refuse_other_classes(
    names: Sequence[str], expected: Optional[Sequence[str]], folder: Any, path: Any
) -> None:
    """Refuse data whose classes are others than those of a model, or have another order.

    Args:
        expected: classes of the model; None or empty if its file ``path`` does not store them.
    """
    if expected and list(names) != list(expected):
        raise LotteryError(
            f"the labels in {folder} are {_listed(names)}, expected {_listed(expected)} as in"
            f" {path}; run fairseq-preprocess with the label/dict.txt of the training as --srcdict"
        )


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) < 100 else f"{text[:97]}..."
