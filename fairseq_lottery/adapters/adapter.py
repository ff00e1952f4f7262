"""``TaskAdapter``: the description of a fairseq task."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar, Union

from fairseq_lottery.adapters.parameter_groups import register_groups
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain

T = TypeVar("T")

#: task of a file that does not name its task
DEFAULT = "translation"


@dataclass(frozen=True)
class Vocabulary:
    """A dictionary of a task.

    Attributes:
        attributes: attributes of fairseq's task that contain the dictionary. A model that is built
            without the task reads them from a stand-in, which has all of them.
        embedding: parameter that has a row for each symbol.
        added: symbols that the task adds to those of the dictionary's file; or a function of the
            task's settings that returns them, or raises LotteryError if they are unknown.
    """

    attributes: tuple[str, ...]
    embedding: str
    added: Union[tuple[str, ...], Callable[[Mapping[str, Any]], tuple[str, ...]]] = ()

    def added_to(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the symbols that the task adds under its settings."""
        return self.added(settings) if callable(self.added) else self.added


@dataclass(frozen=True)
class Stack:
    """A stack of layers in a model.

    Attributes:
        prefix: prefix of the names of its parameters, without the dot before ``layers``.
        positions: name of the setting with the maximum number of its positions.
    """

    prefix: str
    positions: str


@dataclass(frozen=True)
class PairTokens:
    """Symbols that a task adds to the sentences of a pair of languages.

    Attributes:
        before: side, ``source`` or ``target`` -> symbol before its sentences.
        after: side -> symbol after the ``</s>`` of its sentences; the decoder starts with that of
            the target instead of ``</s>``.
    """

    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Preprocessing:
    """How ``fairseq-preprocess`` creates a data folder from text; packed tickets document it.

    Attributes:
        texts: names of the texts; each is a file, or a file for each value of the task's
            ``data_flags``; the value is the ending of the file.
        dictionary_flags: a flag for each dictionary, in the order of the vocabularies.
        flags: further flags.
        infer: data folder -> values of the ``data_flags``; None if they cannot be inferred.
    """

    texts: tuple[str, ...]
    dictionary_flags: tuple[str, ...]
    flags: tuple[str, ...] = ()
    infer: Callable[[Path], Optional[Sequence[str]]] = lambda folder: ()


def first_folder(data: str) -> str:
    """Return the first folder in ``data``, where fairseq looks for dictionaries and test sets."""
    return data.split("|" if "://" in data else os.pathsep)[0]


@dataclass(frozen=True)
class TaskAdapter:
    """Description of a fairseq task.

    Attributes:
        name: fairseq's name of the task, such as ``translation``; ``translation_lottery`` is the
            same task with tickets.
        vocabularies: name of a dictionary -> the dictionary; files store it under this name. A
            dictionary that equals the first one is not stored.
        stacks: prefix of settings, such as ``encoder`` in ``encoder_layers`` -> stack of layers.
        dictionary_files: (data folder, settings of the task) -> name of a dictionary -> its file
            in the folder. It raises LotteryError if they cannot be inferred.
        settings: pattern of further settings that shape a model of the task; the default matches
            none.
        groups: name in ``parameter_groups.GROUPS`` -> pattern of parameters, besides those of
            fairseq's Transformer. All names of a tied tensor are in the group ``embedding`` or
            ``output``.
        data_flags: name in records of packed tickets -> flag of ``fairseq-train`` that selects the
            data in the folder; other commands that read the folder have it too.
        preprocessing: how the data folder is created; required to pack tickets of the task.
        translates: whether models translate sentences. If so, they are evaluated by their
            translations, and by the loss on pairs of sentences.
        examples: pattern of the task's settings that define its examples.
        pairs: settings of the task -> pairs of languages that a model translates; None if a model
            translates the only pair of its data folder.
        pair_tokens: (settings, source, target) -> symbols that the task adds to sentences; None if
            it adds none.
        criterion: fairseq's name of the criterion whose loss evaluates a model on examples.
        head: pattern of the parameters that belong to the task, such as a classifier of sentences;
            the default matches none. They are initialised by ``--head-seed`` in each training,
            never pruned, and not part of masks, tickets, snapshots and comparisons.
        metrics: name of a metric that evaluates a model -> whether a larger value is better.
        masks_tokens: whether inputs of examples are masked; the target then has the token at each
            masked position, and padding elsewhere.
        folders: folders with binary data inside the data folder; ``""`` for the folder itself.

    Raises:
        LotteryError: the head is not a pattern, or contains an embedding; or a metric is malformed.
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
    pairs: Optional[Callable[[Mapping[str, Any]], Sequence[tuple[str, str]]]] = None
    pair_tokens: Optional[Callable[[Mapping[str, Any], str, str], PairTokens]] = None
    criterion: str = "cross_entropy"
    head: str = r"(?!)"
    metrics: Mapping[str, bool] = field(default_factory=lambda: {"loss": False})
    masks_tokens: bool = False
    folders: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        try:
            pattern = re.compile(self.head)
        except (re.error, TypeError) as error:
            raise LotteryError(
                f"the head of task {self.name} is {self.head!r}, expected a regular expression:"
                f" {error}"
            ) from error
        for vocabulary in self.vocabularies.values():
            if pattern.search(vocabulary.embedding):
                raise LotteryError(
                    f"the head of task {self.name} contains {vocabulary.embedding}, the embedding"
                    " of a dictionary; name only parameters that no other task has"
                )
        if not self.metrics:
            raise LotteryError(f"task {self.name} has no metric; name at least 'loss'")
        for name, is_larger_better in self.metrics.items():
            if not re.fullmatch(r"\w+", str(name)) or type(is_larger_better) is not bool:
                raise LotteryError(
                    f"metric {name!r} of task {self.name} is {is_larger_better!r}, expected a name"
                    " and whether a larger value is better (True or False)"
                )

    def is_head(self, name: str) -> bool:
        """Return whether a parameter belongs to the head of the task."""
        return re.search(self.head, name) is not None

    @property
    def has_head(self) -> bool:
        """Whether models of the task have a head."""
        return self.head != type(self).head

    def without_head(self, named: Mapping[str, T]) -> dict[str, T]:
        """Return the entries of ``named`` (parameter -> value) that do not belong to the head."""
        return {name: value for name, value in named.items() if not self.is_head(name)}

    @property
    def lottery_task(self) -> str:
        """Return fairseq's name of the task with tickets, for ``--task``."""
        return f"{self.name}_lottery"

    @property
    def is_encoder(self) -> bool:
        """Whether models of the task are encoders without a decoder."""
        return not self.translates and tuple(self.stacks) == ("encoder",)

    @property
    def record(self) -> dict[str, str]:
        """Return the entry for the task in files; the default task has none."""
        return {} if self.name == DEFAULT else {"task": self.name}

    def find_folder(self, settings: Mapping[str, Any], data: Optional[str] = None) -> DataFolder:
        """Find the data folder of a training.

        Args:
            settings: settings of the task: ``data``, and those that determine the dictionary files.
            data: folder that replaces the one in the settings.

        Raises:
            LotteryError: the folder does not exist, or has no dictionaries of this task.
        """
        name = data or first_folder(str(settings.get("data") or ""))
        if not name:
            raise LotteryError("the settings of the task do not name a data folder")
        path = Path(name)
        if not path.is_dir():
            raise LotteryError(f"there is no data folder {path} in {Path.cwd()}")
        folder = self.folder(path, settings)
        for file in folder.files.values():
            if not is_plain(path / file):
                raise LotteryError(f"the data folder {path} has no {file}")
        return folder

    def folder(self, path: Path, settings: Mapping[str, Any]) -> DataFolder:
        """Return a data folder with the dictionaries for the settings of the task.

        Raises:
            LotteryError: the dictionaries cannot be inferred.
        """
        files = self.dictionary_files(path, settings)
        added = {name: one.added_to(settings) for name, one in self.vocabularies.items()}
        return DataFolder(path, self.name, files, added)

    def refuse_unless_translating(self, path: object, purpose: str) -> None:
        """Refuse models of a task that does not translate.

        Args:
            path: file of the model.
            purpose: feature that requires translations, such as ``--to ctranslate2``.
        """
        if not self.translates:
            raise LotteryError(
                f"{purpose} requires a model that translates, but the task of {path} is"
                f" {self.name}; use a model of the task {DEFAULT}"
            )

    def refuse_language_tokens(self, path: object, purpose: str) -> None:
        """Refuse models whose sentences have tokens of languages."""
        if self.pair_tokens is not None:
            raise LotteryError(
                f"{purpose} does not support the language tokens of {path}, whose task is"
                f" {self.name}; translate with fairseq-generate"
            )


#: fairseq's name of a task -> adapter
ADAPTERS: dict[str, TaskAdapter] = {}


def register_adapter(adapter: TaskAdapter) -> TaskAdapter:
    """Register an adapter under its task's name, and its groups of parameters."""
    ADAPTERS[adapter.name] = adapter
    register_groups(adapter.groups)
    return adapter


#: task of fairseq that pre-trained released models -> task with an adapter for the same model
_PRETRAINING = {
    "multilingual_masked_lm": "masked_lm",  # XLM-R
    "multilingual_denoising": "translation_from_pretrained_bart",  # mBART
}


def adapter_of(task: Optional[object]) -> TaskAdapter:
    """Return the adapter of a fairseq task; without one, return the adapter of translation.

    Args:
        task: registered name, such as ``masked_lm`` or ``masked_lm_lottery``.
    """
    name = re.sub("_lottery$", "", str(task))
    return ADAPTERS.get(_PRETRAINING.get(name, name), ADAPTERS[DEFAULT])


def stored_adapter(record: Mapping[str, Any], path: object) -> TaskAdapter:
    """Return the adapter of the task in a stored record.

    Raises:
        LotteryError: no adapter is registered for the task.
    """
    name = record.get("task", DEFAULT)
    if not isinstance(name, str) or name not in ADAPTERS:
        raise LotteryError(
            f"{path} has the task {str(name)[:50]!r}, for which no adapter is registered; give the"
            " folder that registers it with --user-dir"
        )
    return ADAPTERS[name]
