"""What the log of a training tells of it while it runs, and after it was killed."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SAVED = re.compile(r"Saved checkpoint .+ \(epoch \d+ @ (\d+) updates")


def last_saved(log: Path) -> int:
    """The update of the last checkpoint that a log tells of, 0 where it tells of none."""
    try:
        found = _SAVED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return 0
    return int(found[-1]) if found else 0


def tail(path: Path, size: int = 4000) -> str:
    """The end of a text file, empty where there is no file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
