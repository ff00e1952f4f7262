"""Read label files that pair with the sentences of a recording."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Optional, TypeVar, Union

from fairseq_lottery.analysis.recording.recording import Recording
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines

T = TypeVar("T")

#: most bytes of a label file
_LARGEST = 1 << 28


def label_lines(path: Union[str, Path]) -> list[str]:
    """Return the lines of a label file.

    Raises:
        LotteryError: it cannot be read.
    """
    try:
        return list(read_lines(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is too large or not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error


def whole_number(text: str) -> Optional[int]:
    """Return a number of at most nine decimal digits; None for other text."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def select_recorded(path: Union[str, Path], entries: Sequence[T], recording: Recording) -> list[T]:
    """Return the entries of the recorded sentences.

    Args:
        entries: one for each sentence of the subset, or one for each recorded sentence.

    Raises:
        LotteryError: their number fits neither.
    """
    record = recording.record
    if len(entries) == record.of:
        return [entries[number] for number in record.sentences]
    if len(entries) == len(record.sentences):
        return list(entries)
    raise LotteryError(
        f"{path} has {len(entries)} sentences, expected {record.of} (all of {record.subset}) or"
        f" {len(record.sentences)} (those of {recording.folder})"
    )
