"""Blocks: the sentences within an example of concatenated sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.labels.label_lines import label_lines, whole_number
from fairseq_lottery.analysis.labels.matching import select_recorded
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError


def blocks_between(is_separator: Array) -> Array:
    """Return the number of the sentence of each token, from 0; -1 for separators.

    Args:
        is_separator: which tokens separate sentences, bool.
    """
    blocks = np.full(len(is_separator), -1)
    blocks[~is_separator] = np.unique(np.cumsum(is_separator)[~is_separator], return_inverse=True)[
        1
    ]
    return blocks


def delimited_blocks(recording: Recording) -> list[Array]:
    """Return the number of the sentence of each token of an encoder's examples; -1 of delimiters.

    Sentences are what ``<s>`` and ``</s>`` separate.
    """
    return [blocks_between(~are_words) for are_words in recording.are_words("source")]


def read_boundaries(path: Union[str, Path], recording: Recording, side: str) -> list[Array]:
    """Read a file with the numbers of the first word of each sentence, from 0, for each example.

    ``0 7 15`` says that an example has three sentences, the second one from its eighth word.

    Returns:
        The number of the sentence of each token, for each recorded example; -1 for delimiters.

    Raises:
        LotteryError: the file cannot be read, its lines do not pair with the examples, or a number
            is not that of a word.
    """
    lines = select_recorded(path, label_lines(path), recording)
    blocks = []
    for place, (line, are_words) in enumerate(zip(lines, recording.are_words(side))):
        count = int(are_words.sum())
        numbers = [whole_number(field) for field in line.split()]
        starts = [number for number in numbers if number is not None]
        if starts != numbers or starts != sorted({0, *starts}) or starts[-1] >= count:
            raise LotteryError(
                f"{path}: {line[:60]!r} of example {recording.record.sentences[place] + 1} must be"
                f" increasing numbers of words, from 0 to at most {count - 1}"
            )
        of_tokens = np.full(len(are_words), -1)
        of_tokens[are_words] = np.searchsorted(starts, np.arange(count), side="right") - 1
        blocks.append(of_tokens)
    return blocks
