"""Dictionaries in the folder of a released archive, with the symbols that its task adds."""

from __future__ import annotations

import re
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
#: tasks of mBART, which add a symbol for each language and then a mask
_WITH_LANGUAGES = ("multilingual_denoising", "translation_from_pretrained_bart")


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
    if re.sub("_lottery$", "", str(settings.get("_name"))) in _WITH_LANGUAGES:
        symbols = (*_language_symbols(settings), "<mask>")
        return DataFolder(path, adapter.name, files, dict.fromkeys(files, symbols))
    added = {name: one.added_to(settings) for name, one in adapter.vocabularies.items()}
    return DataFolder(path, adapter.name, files, added)


def _language_symbols(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return mBART's symbol of each language, in the order of ``--langs``."""
    if settings.get("_name") == "multilingual_denoising" and not settings.get("add_lang_token"):
        return ()
    languages = str(settings.get("langs") or "")
    return tuple(f"[{language}]" for language in languages.split(",") if language)
