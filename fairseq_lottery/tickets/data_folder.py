"""The data folder of a training, found as fairseq's translation task finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.tickets.dictionaries import Dictionaries, fairseq_data, read_dictionaries


@dataclass(frozen=True)
class DataFolder:
    """A folder that ``fairseq-preprocess`` wrote, and the languages that are read in it."""

    path: Path
    source: str
    target: str

    @classmethod
    def find(cls, task: Mapping[str, Any], data: Optional[str] = None) -> DataFolder:
        """Find the folder of a translation task by its settings.

        Args:
            task: ``data``, the languages; what is missing is inferred from the files.
            data: a folder that replaces the one in the settings.

        Raises:
            LotteryError: it is not there, or has no dictionaries of these languages.
        """
        given = data or first_folder(str(task.get("data") or ""))
        if not given:
            raise LotteryError("no data folder is named in it")
        path = Path(given)
        if not path.is_dir():
            raise LotteryError(f"there is no data folder {path} in {Path.cwd()}")
        languages = task.get("source_lang"), task.get("target_lang")
        if not all(languages):
            inferred = infer_languages(path)
            if inferred is None:
                raise LotteryError(f"the data folder {path} has no file SPLIT.SOURCE-TARGET.LANG")
            languages = inferred
        found = cls(path, *map(str, languages))
        for language in (found.source, found.target):
            name = f"dict.{language}.txt"
            if not is_plain(path / name):
                raise LotteryError(f"the data folder {path} has no {name}")
        return found

    def dictionaries(self) -> Dictionaries:
        """Read both dictionaries as they are now."""
        return read_dictionaries(self.path, self.source, self.target)


def first_folder(data: str) -> str:
    """Return the first folder in ``data``, where fairseq looks for dictionaries and test sets."""
    return data.split("|" if "://" in data else os.pathsep)[0]


def infer_languages(folder: Path) -> Optional[tuple[str, str]]:
    """Infer the language pair of a data folder from its file names, as fairseq does.

    Returns:
        source and target; None where no file is named SPLIT.SOURCE-TARGET.LANG.

    Raises:
        LotteryError: the folder cannot be read.
    """
    data = fairseq_data()
    try:
        if data is not None:
            source, target = data.data_utils.infer_language_pair(str(folder))
        else:
            names = (path.name.split(".") for path in sorted(folder.iterdir()))
            pairs = (name[1].split("-") for name in names if len(name) >= 3)
            source, target = next((pair for pair in pairs if len(pair) == 2), (None, None))
    except OSError as error:
        raise LotteryError(f"the data folder {folder} cannot be read: {error.strerror}") from error
    return (source, target) if source and target else None
