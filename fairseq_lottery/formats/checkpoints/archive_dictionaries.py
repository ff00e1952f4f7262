"""Dictionaries in the folder of a released archive, with the symbols that its task adds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.adapters import DataFolder, TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats.dictionaries import SPECIAL, Dictionaries, read_dictionaries

#: the only dictionary of pre-trained models
_FILE = "dict.txt"


def read_beside(
    file: Path, adapter: TaskAdapter, settings: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Optional[Dictionaries]:
    """Read the dictionaries beside a model, as fairseq's ``from_pretrained`` does.

    Args:
        file: file of the model.
        adapter: adapter of its task.
        settings: stored settings of its task.
        weights: name -> parameter of the model, which has a row for each symbol.

    Returns:
        None if the folder of the model has no dictionaries.

    Raises:
        LotteryError: a dictionary cannot be read, or the model has another number of rows.
    """
    folder = _folder(file.parent, adapter, settings)
    if folder is None:
        return None
    dictionaries = read_dictionaries(folder)
    for name, vocabulary in adapter.vocabularies.items():
        symbols = len(SPECIAL) + len(dictionaries[name])
        embedding = weights.get(vocabulary.embedding)
        if embedding is not None and len(embedding) != symbols:
            raise LotteryError(
                f"{folder.path / folder.files[name]} has {symbols} symbols with those that fairseq"
                f" adds, but {file} has {len(embedding)} rows in its embedding; put the dictionary"
                " of the model beside it"
            )
    return dictionaries


def _folder(path: Path, adapter: TaskAdapter, settings: Mapping[str, Any]) -> Optional[DataFolder]:
    """Return the dictionary files of an archive; None if the folder lacks them."""
    if not is_plain(path / _FILE):
        try:
            folder = adapter.folder(path, settings)
        except LotteryError:
            return None
        return folder if all(is_plain(path / file) for file in folder.files.values()) else None
    files = dict.fromkeys(adapter.vocabularies, _FILE)
    added = {name: one.added_to(settings) for name, one in adapter.vocabularies.items()}
    return DataFolder(path, adapter.name, files, added)
