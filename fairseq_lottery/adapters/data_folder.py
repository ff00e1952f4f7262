"""``DataFolder``: a folder of ``fairseq-preprocess`` for a training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """A folder that ``fairseq-preprocess`` wrote, with its dictionaries.

    Attributes:
        task: fairseq's name of the task that reads it.
        files: name of a dictionary -> its file in the folder.
        added: name of a dictionary -> symbols that the task adds to those of its file.
    """

    path: Path
    task: str
    files: Mapping[str, str]
    added: Mapping[str, tuple[str, ...]]


def first_folder(data: str) -> str:
    """Return the first folder in ``data``, where fairseq looks for dictionaries and test sets."""
    return data.split("|" if "://" in data else os.pathsep)[0]
