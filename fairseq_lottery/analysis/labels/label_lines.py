"""Read the lines of label files, and the numbers in them."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines

#: most bytes of a label file
_LARGEST = 1 << 30


def label_lines(path: Union[str, Path]) -> list[str]:
    """Return the lines of a label file in UTF-8, without a byte order mark.

    Raises:
        LotteryError: it cannot be read.
    """
    try:
        lines = list(read_lines(path, _LARGEST))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error
    return [lines[0].lstrip("\ufeff"), *lines[1:]] if lines else lines


def whole_number(text: str) -> Optional[int]:
    """Return a number of at most nine decimal digits; None for other text."""
    return int(text) if text.isdecimal() and len(text) < 10 else None
