"""Read logs of trainings, which may be running or killed."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SAVED = re.compile(r"Saved checkpoint .+ \(epoch \d+ @ (\d+) updates")


def last_saved(log: Path) -> int:
    """Return the update of the last saved checkpoint in a log; 0 if there is none."""
    try:
        updates = _SAVED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return 0
    return int(updates[-1]) if updates else 0


def tail(path: Path, size: int = 4000) -> str:
    """Return the last ``size`` bytes of a text file; empty if the file is missing."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
