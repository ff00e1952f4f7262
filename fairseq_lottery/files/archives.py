"""Released archives of fairseq: a folder with ``model.pt`` and the files that belong to it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, TypeVar, Union

from fairseq_lottery.files.atomic import is_plain

#: file of the weights, as fairseq's ``from_pretrained`` names it
MODEL = "model.pt"

Name = TypeVar("Name", bound=Optional[Union[str, Path]])


def model_file(path: Name) -> Union[Name, Path]:
    """Return ``model.pt`` in ``path`` if it is an unpacked archive, else ``path`` itself."""
    if path is not None and is_plain(Path(path) / MODEL):
        return Path(path) / MODEL
    return path
