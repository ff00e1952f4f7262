"""Blocks: the sentences within an example of concatenated sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.labels.label_lines import label_lines, whole_number
from fairseq_lottery.analysis.labels.matching import select_recorded
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError


def blocks_by_separator(words: Sequence[str], separator: str) -> Array:
    """Return the number of the sentence of each word, from 0; -1 for separators."""
    is_separator = np.array([word == separator for word in words], dtype=bool)
    blocks = np.full(len(words), -1)
    blocks[~is_separator] = np.unique(np.cumsum(is_separator)[~is_separator], return_inverse=True)[
        1
    ]
    return blocks


def read_boundaries(path: Union[str, Path], recording: Recording, side: str) -> list[Array]:
    """Read a file with the numbers of the first word of each sentence, from 0, for each example.

    ``0 7 15`` says that an example has three sentences, the second one from its eighth word.

    Returns:
        The number of the sentence of each word, for each recorded example.

    Raises:
        LotteryError: the file cannot be read, its lines do not pair with the examples, or a number
            is not that of a word.
    """
    lines = select_recorded(path, label_lines(path), recording)
    blocks = []
    for place, (line, count) in enumerate(zip(lines, recording.lengths(side).tolist())):
        numbers = [whole_number(field) for field in line.split()]
        starts = [number for number in numbers if number is not None]
        if starts != numbers or starts != sorted({0, *starts}) or starts[-1] >= count:
            raise LotteryError(
                f"{path}: {line[:60]!r} of example {recording.record.sentences[place] + 1} must be"
                f" increasing numbers of words, from 0 to at most {count - 1}"
            )
        blocks.append(np.searchsorted(starts, np.arange(count), side="right") - 1)
    return blocks
