"""``TaskAdapter``: what the package has to know about a task of fairseq's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery.adapters.data_folder import DataFolder, first_folder
from fairseq_lottery.adapters.parameter_groups import register_groups
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain

#: the task of files that do not name one
DEFAULT = "translation"


@dataclass(frozen=True)
class Vocabulary:
    """A dictionary of a task.

    Attributes:
        attributes: attributes of fairseq's task that hold the dictionary. A model that is built
            without the task asks for each of them.
        embedding: parameter that has a row for each symbol.
        added: symbols that the task adds to those of the dictionary's file.
    """

    attributes: tuple[str, ...]
    embedding: str
    added: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """A stack of layers in a model.

    Attributes:
        prefix: prefix of the names of its parameters, without the dot before ``layers``.
        positions: setting for the number of its positions.
    """

    prefix: str
    positions: str


def _infer_nothing(folder: Path) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Preprocessing:
    """How ``fairseq-preprocess`` makes a data folder out of text, which packed tickets explain.

    Attributes:
        texts: names of the texts; each is a file, or a file for each value of the task's
            ``data_flags``, which is then its ending.
        dictionary_flags: flag that takes each dictionary, in the order of the vocabularies.
        flags: further flags.
        infer: data folder -> values of the ``data_flags``; None where its files do not tell.
    """

    texts: tuple[str, ...]
    dictionary_flags: tuple[str, ...]
    flags: tuple[str, ...] = ()
    infer: Callable[[Path], Optional[Sequence[str]]] = _infer_nothing


@dataclass(frozen=True)
class TaskAdapter:
    """What differs between fairseq's tasks.

    Attributes:
        name: fairseq's name of the task, as ``translation``; ``translation_lottery`` is the same
            task with tickets.
        vocabularies: name of a dictionary -> the dictionary; files store it under this name. Of
            equal dictionaries the first one is stored.
        stacks: prefix of settings, as ``encoder`` in ``encoder_layers`` -> the stack of layers.
        dictionary_files: (data folder, settings of the task) -> name of a dictionary -> its file
            in the folder. It raises LotteryError where the folder does not tell.
        settings: pattern of further settings that shape a model of the task.
        groups: name in ``parameter_groups.GROUPS`` -> pattern of parameters, beside those of
            fairseq's Transformer. A tied tensor is in the group ``embedding`` or ``output`` under
            each of its names.
        data_flags: name, as in records of packed tickets -> flag of ``fairseq-train`` that says
            which data in the folder is meant; other commands that read the folder take it too.
        preprocessing: how the data folder is made; tickets of a task without it are not packed.
        translates: whether a model translates sentences. Such a model is evaluated by its loss on
            pairs of sentences, and by its translations.
        examples: pattern of the task's settings that say how its examples are made.
        criterion: fairseq's name of the criterion whose loss a model is evaluated by on examples.
    """

    name: str
    vocabularies: Mapping[str, Vocabulary]
    stacks: Mapping[str, Stack]
    dictionary_files: Callable[[Path, Mapping[str, Any]], Mapping[str, str]]
    settings: str = r"(?!)"
    groups: Mapping[str, str] = field(default_factory=dict)
    data_flags: Mapping[str, str] = field(default_factory=dict)
    preprocessing: Optional[Preprocessing] = None
    translates: bool = False
    examples: str = r"(?!)"
    criterion: str = "cross_entropy"

    @property
    def lottery_task(self) -> str:
        """fairseq's name of the task with tickets, for ``--task``."""
        return f"{self.name}_lottery"

    @property
    def record(self) -> dict[str, str]:
        """Entry that names the task in files; tasks of the default have none."""
        return {} if self.name == DEFAULT else {"task": self.name}

    def find_folder(self, settings: Mapping[str, Any], data: Optional[str] = None) -> DataFolder:
        """Find the data folder of a training.

        Args:
            settings: of the task: ``data``, and whatever else decides the dictionaries' files.
            data: a folder that replaces the one in the settings.

        Raises:
            LotteryError: it does not exist, or has no dictionaries of this task.
        """
        given = data or first_folder(str(settings.get("data") or ""))
        if not given:
            raise LotteryError("the settings of its task name no data folder")
        path = Path(given)
        if not path.is_dir():
            raise LotteryError(f"there is no data folder {path} in {Path.cwd()}")
        folder = self.folder(path, settings)
        for name in folder.files.values():
            if not is_plain(path / name):
                raise LotteryError(f"the data folder {path} has no {name}")
        return folder

    def folder(self, path: Path, settings: Mapping[str, Any]) -> DataFolder:
        """Return a data folder, with the dictionaries that the settings of the task ask for.

        Raises:
            LotteryError: neither the settings nor the folder tell their files.
        """
        files = self.dictionary_files(path, settings)
        added = {name: vocabulary.added for name, vocabulary in self.vocabularies.items()}
        return DataFolder(path, self.name, files, added)

    def refuse_unless_translating(self, path: object, purpose: str) -> None:
        """Refuse what translates sentences for a model of a task that does not.

        Args:
            path: the model's file.
            purpose: what translates, as ``--to ctranslate2``.

        Raises:
            LotteryError: the sentence names the task.
        """
        if not self.translates:
            raise LotteryError(
                f"{purpose} requires a model that translates, and the task of {path} is"
                f" {self.name}; use a model of the task {DEFAULT}"
            )


#: fairseq's name of a task -> adapter
ADAPTERS: dict[str, TaskAdapter] = {}


def register_adapter(adapter: TaskAdapter) -> TaskAdapter:
    """Register an adapter under its task's name, and its groups of parameters."""
    ADAPTERS[adapter.name] = adapter
    register_groups(adapter.groups)
    return adapter


def adapter_of(task: Optional[object]) -> TaskAdapter:
    """Return the adapter of a task of fairseq's, that of translation where it has none.

    Args:
        task: registered name, as ``masked_lm`` or ``masked_lm_lottery``.
    """
    return ADAPTERS.get(re.sub("_lottery$", "", str(task)), ADAPTERS[DEFAULT])


def stored_adapter(record: Mapping[str, Any], path: object) -> TaskAdapter:
    """Return the adapter of the task that the record in a file of ours names.

    Raises:
        LotteryError: no adapter of this name is registered.
    """
    name = record.get("task", DEFAULT)
    if not isinstance(name, str) or name not in ADAPTERS:
        raise LotteryError(
            f"{path} is of the task {str(name)[:50]!r}, which has no adapter; give the folder that"
            " registers it with --user-dir"
        )
    return ADAPTERS[name]
