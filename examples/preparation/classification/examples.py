"""Examples as text: one file for each input and one for the labels, an example a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError


@dataclass(frozen=True)
class Labels:
    """What the labels of a task may be.

    Attributes:
        names: the labels in the order of the classes; empty for scores.
        largest: largest score, by which scores are divided.
        spellings: another spelling of a label -> the label.
    """

    names: tuple[str, ...]
    largest: float = 0.0
    spellings: dict[str, str] = field(default_factory=dict)

    def text_of(self, label: str, place: str) -> str:
        """Return a label, or a score between 0 and 1, as fairseq reads it.

        Raises:
            LotteryError: the label is unknown, or the score is out of range.
        """
        if self.names:
            label = self.spellings.get(label, label)
            if label not in self.names:
                raise LotteryError(
                    f"{place} has the label {label[:50]!r}, expected one of {', '.join(self.names)}"
                )
            return label
        try:
            score = float(label)
        except ValueError:
            score = -1.0
        if not 0 <= score <= self.largest:
            raise LotteryError(
                f"{place} has the score {label[:50]!r}, expected a number from 0 to"
                f" {self.largest:g}"
            )
        return f"{score / self.largest:.6g}"


def write_examples(
    rows: Iterable[tuple[str, ...]], name: str, inputs: int, labels: Optional[Labels], folder: Path
) -> tuple[int, Counter[str]]:
    """Write ``NAME.input0``, ``NAME.input1`` and ``NAME.label``.

    Args:
        rows: the inputs of each example, then its label if the set has labels.
        name: name of the set, such as ``train``.
        inputs: number of inputs.
        labels: None for a set without labels.

    Returns:
        The number of examples, and the number of each label.

    Raises:
        LotteryError: the set is empty, or a label is not one of the task.
    """
    kinds = [f"input{number}" for number in range(inputs)] + (["label"] if labels else [])
    counts: Counter[str] = Counter()
    number = 0
    with ExitStack() as stack:
        files = [
            stack.enter_context(open(folder / f"{name}.{kind}", "w", encoding="utf-8", newline=""))
            for kind in kinds
        ]
        for number, row in enumerate(rows, 1):
            texts = list(row)
            if labels:
                texts[inputs] = labels.text_of(row[inputs], f"example {number} of {name}")
                counts[texts[inputs]] += 1
            for file, text in zip(files, texts):
                file.write(f"{text}\n")
    if not number:
        raise LotteryError(f"the set {name} has no examples: it is not the table described")
    return number, counts
