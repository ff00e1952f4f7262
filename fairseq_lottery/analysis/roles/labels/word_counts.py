"""Read how often words occur, for rare-word heads."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from fairseq_lottery.analysis.labels.label_lines import label_lines, whole_number
from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError


def read_frequencies(path: Union[str, Path], recording: Recording) -> dict[str, int]:
    """Read lines of a word and its count, as in fairseq's dictionaries.

    Raises:
        LotteryError: the file cannot be read or is malformed, or lacks more than half of the words
            of a side, as a dictionary of subwords does.
    """
    counts: dict[str, int] = {}
    for number, line in enumerate(label_lines(path), 1):
        word, _, count = line.rstrip().rpartition(" ")
        frequency = whole_number(count)
        if not word or frequency is None:
            raise LotteryError(f"{path}: line {number} is {line[:40]!r}, expected WORD COUNT")
        counts[word] = frequency
    for side in recording.record.sides:
        words = {word for sentence in recording.words(side) for word in sentence}
        if 2 * len(words & counts.keys()) >= len(words):
            return counts
    raise LotteryError(
        f"{path} lacks more than half of the words of {recording.folder}; give counts of words, not"
        " of subwords"
    )
