"""What a model is evaluated on: examples of its data folder, and its loss on them."""

from __future__ import annotations

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, build_criterion
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.compat import numpy_has_compat
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Source, read_dictionaries
from fairseq_lottery.inference.model_builder import untrained
from fairseq_lottery.inference.sentences import Text, load_pairs, text_of

logger = logging.getLogger(__name__)

#: of a number among the settings of a task: tokens of an example, at most
_LARGEST = 1 << 14


class Evaluation(ABC):
    """Examples for a model, and the loss of the model on them.

    Attributes:
        symbols: dictionaries of the model, by name.
        folder: data folder; None if it is missing.
    """

    symbols: Dictionaries
    folder: Optional[Path]

    @property
    @abstractmethod
    def dictionaries(self) -> Mapping[str, Dictionary]:
        """The dictionaries as fairseq has them, by name."""

    @property
    @abstractmethod
    def contents(self) -> str:
        """Description of the examples in a subset, for error messages."""

    @abstractmethod
    def build(self, source: Source) -> nn.Module:
        """Build the model of a file with fresh weights."""

    @abstractmethod
    def load(self, subset: str) -> Optional[FairseqDataset]:
        """Load a subset of the data folder as fairseq's task does; None if the folder lacks it.

        Raises:
            LotteryError: it cannot be read, or the data folder is not here.
        """

    @abstractmethod
    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of tokens, and the number of examples."""


class PairsOfSentences(Evaluation):
    """Pairs of sentences, and the cross-entropy of the target sides under teacher forcing."""

    def __init__(self, text: Text, path: object) -> None:
        self.text, self.symbols, self.folder = text, text.dictionaries, text.folder
        self._dictionaries, self._path = text.fairseq_dictionaries, path

    @property
    def dictionaries(self) -> Mapping[str, Dictionary]:  # noqa: D102
        return self._dictionaries

    @property
    def contents(self) -> str:  # noqa: D102
        source, target = self.text.source, self.text.target
        return f"pairs of sentences in {source}-{target} or {target}-{source}"

    def build(self, source: Source) -> nn.Module:  # noqa: D102
        return untrained(source)

    def load(self, subset: str) -> Optional[FairseqDataset]:  # noqa: D102
        if self.folder is None:
            raise LotteryError(
                f"the data folder of {self._path} is not here; give a folder of the same"
                " dictionaries with --data"
            )
        found = load_pairs(self.text, subset)
        return None if found is None or found.tgt is None else found

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:  # noqa: D102
        scores = model.get_normalized_probs(model(**batch["net_input"]), log_probs=True)
        picked = scores.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1)
        real = batch["target"] != model.decoder.padding_idx
        return -picked[real].sum(), int(real.sum()), len(batch["target"])


class ExamplesOfTask(Evaluation):
    """Examples as fairseq's own task makes them, and the loss of fairseq's own criterion.

    Random parts of the examples use seed 1 and epoch 1, so losses of different models are
    comparable.

    Args:
        source: file of the model.
        settings: of the task that trained it. Of these only the numbers and words that the adapter
            allows are used.
        data: folder that replaces that of the settings.

    Raises:
        LotteryError: fairseq has no such task, or the data folder is not one of its task.
    """

    def __init__(self, source: Source, settings: Mapping[str, Any], data: Optional[str]) -> None:
        adapter = source.adapter
        try:
            found = adapter.find_folder(settings, data)
        except LotteryError as error:
            raise LotteryError(
                f"the data of {source.path} are not known: {error}; give the folder with --data"
            ) from None
        self.symbols, self.folder = read_dictionaries(found), found.path
        if source.in_file is not None:
            source.in_file.refuse_other(self.symbols, source.path)
        self._adapter, self._source, self._settings = adapter, source, settings
        try:
            self._cfg = _configuration(adapter, settings, found.path)
        except OmegaConfBaseException as error:
            raise self._failed("the settings of the task are malformed", error) from None
        self._ignored = _ignored(adapter, settings)

    @cached_property
    def task(self) -> Any:
        """fairseq's task."""
        try:
            return TASK_REGISTRY[self._adapter.name].setup_task(self._cfg.task)
        except Exception as error:  # noqa: BLE001 - a task raises whatever it likes
            raise self._failed("the task cannot be set up", error) from error

    @property
    def dictionaries(self) -> Mapping[str, Dictionary]:  # noqa: D102
        return {
            name: getattr(self.task, one.attributes[0])
            for name, one in self._adapter.vocabularies.items()
        }

    @property
    def contents(self) -> str:  # noqa: D102
        return f"examples of {self._adapter.name}"

    def build(self, source: Source) -> nn.Module:  # noqa: D102
        return untrained(source, self.task)

    def load(self, subset: str) -> Optional[FairseqDataset]:  # noqa: D102
        if not self._settings:
            raise LotteryError(
                f"{self._source.path} is a {self._source.kind}, which does not say how examples of"
                f" {self._adapter.name} are made; give a checkpoint"
            )
        try:
            with numpy_has_compat():
                self.task.load_dataset(subset, combine=False)
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - damaged files raise whatever they like
            raise self._failed(f"the examples called {subset} cannot be read", error) from error
        ignored = ", ".join(f"{name} {value}" for name, value in self._ignored.items())
        if ignored:
            logger.warning("examples are made without these settings of the training: %s", ignored)
        found: FairseqDataset = self.task.dataset(subset)
        found.set_epoch(1)
        return found

    @cached_property
    def _criterion(self) -> Any:
        try:
            return build_criterion(self._cfg.criterion, self.task).eval()
        except Exception as error:  # noqa: BLE001 - a criterion raises whatever it likes
            raise self._failed(
                f"the criterion {self._adapter.criterion} cannot be built", error
            ) from error

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:  # noqa: D102
        loss, size, _ = self._criterion(model, batch)
        return loss, int(size), len(batch["id"])

    def _failed(self, what: str, error: Exception) -> LotteryError:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return LotteryError(
            f"{what} ({reason}); {self.folder} is the data folder of {self._source.path}"
        )


def _configuration(adapter: TaskAdapter, settings: Mapping[str, Any], folder: Path) -> Any:
    """Return fairseq's configuration at its defaults, with a task's settings where allowed."""
    if adapter.name not in TASK_DATACLASS_REGISTRY:
        raise LotteryError(
            f"fairseq has no task {adapter.name} with a dataclass of settings; give the folder that"
            " registers it with --user-dir"
        )
    if adapter.criterion not in CRITERION_DATACLASS_REGISTRY:
        raise LotteryError(
            f"fairseq has no criterion {adapter.criterion}, which the adapter of {adapter.name}"
            " names; name one that is registered with a dataclass of settings"
        )
    known = _known(adapter)
    allowed = {
        name: value
        for name, value in settings.items()
        if name in known and re.fullmatch(adapter.examples, name) and _is_harmless(value)
    }
    whole = OmegaConf.structured(FairseqConfig)
    OmegaConf.set_struct(whole, False)
    whole.task = TASK_DATACLASS_REGISTRY[adapter.name](data=str(folder))
    for name, value in allowed.items():
        whole.task[name] = value
    whole.criterion = CRITERION_DATACLASS_REGISTRY[adapter.criterion]()
    whole.criterion._name = adapter.criterion
    return whole


def _known(adapter: TaskAdapter) -> dict[str, Any]:
    """Return the settings of fairseq's task with their defaults."""
    return {field.name: field.default for field in fields(TASK_DATACLASS_REGISTRY[adapter.name])}


def _is_harmless(value: Any) -> bool:
    """Whether a setting is a number of a size that examples have, or a word."""
    if type(value) in (bool, int, float):
        return abs(value) <= _LARGEST
    return re.fullmatch(r"\w{1,50}", str(value)) is not None


def _ignored(adapter: TaskAdapter, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return switches of the training's task that are on and that the adapter does not allow."""
    known = _known(adapter)
    return {
        name: value
        for name, value in settings.items()
        if known.get(name) is False and value is True and not re.fullmatch(adapter.examples, name)
    }


def evaluation_of(
    source: Source, settings: Mapping[str, Any], data: Optional[str] = None
) -> Evaluation:
    """Find what a model is evaluated on.

    Args:
        source: file of the model.
        settings: of the task that trained it, where the file stores them.
        data: folder that replaces that of the settings.
    """
    if source.adapter.translates:
        return PairsOfSentences(text_of(source, settings, data, needed=True), source.path)
    return ExamplesOfTask(source, settings, data)
