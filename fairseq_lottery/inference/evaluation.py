"""What a model is evaluated on: examples of its data folder, and its loss on them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, build_criterion
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import OmegaConf
from torch import Tensor, nn

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.compat import numpy_has_compat
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Source, read_dictionaries
from fairseq_lottery.inference.model_builder import untrained
from fairseq_lottery.inference.sentences import Text, load_pairs, text_of

logger = logging.getLogger(__name__)

#: of a number among the settings of a task: tokens of an example, at most
_LARGEST = 1 << 14


class PairsOfSentences:
    """Pairs of sentences, and the cross-entropy of the target sides under teacher forcing.

    Attributes:
        symbols: dictionaries of the model, by name.
        folder: data folder; None if it is missing.
        dictionaries: as fairseq has them, by name.
        contents: description of the examples in a subset, for error messages.
    """

    def __init__(self, text: Text, path: object) -> None:
        self.text, self.symbols, self.folder = text, text.dictionaries, text.folder
        self.dictionaries: Mapping[str, Dictionary] = text.fairseq_dictionaries
        source, target, self._path = text.source, text.target, path
        self.contents = f"pairs of sentences in {source}-{target} or {target}-{source}"

    def build(self, source: Source) -> nn.Module:
        """Build the model of a file with fresh weights."""
        return untrained(source)

    def load(self, subset: str) -> Optional[FairseqDataset]:
        """Load a subset of the data folder as fairseq's task does; None if the folder lacks it."""
        if self.folder is None:
            raise LotteryError(
                f"the data folder of {self._path} is not here; give a folder of the same"
                " dictionaries with --data"
            )
        found = load_pairs(self.text, subset)
        return None if found is None or found.tgt is None else found

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of tokens, and the number of examples."""
        scores = model.get_normalized_probs(model(**batch["net_input"]), log_probs=True)
        picked = scores.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1)
        real = batch["target"] != model.decoder.padding_idx
        return -picked[real].sum(), int(real.sum()), len(batch["target"])


class ExamplesOfTask:
    """Examples as fairseq's own task makes them, and the loss of fairseq's own criterion.

    Random parts of the examples use seed 1 and epoch 1, so losses of different models are
    comparable. Attributes and methods are those of ``PairsOfSentences``.

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
        self.contents = f"examples of {adapter.name}"
        with self._saying("the settings of the task are malformed"):
            self._cfg, self._ignored = _configuration(adapter, settings, found.path)

    @cached_property
    def task(self) -> Any:
        """fairseq's task."""
        with self._saying("the task cannot be set up"):
            return TASK_REGISTRY[self._adapter.name].setup_task(self._cfg.task)

    @property
    def dictionaries(self) -> Mapping[str, Dictionary]:
        """The dictionaries as fairseq has them, by name."""
        return {
            name: getattr(self.task, one.attributes[0])
            for name, one in self._adapter.vocabularies.items()
        }

    def build(self, source: Source) -> nn.Module:
        """Build the model of a file with fresh weights."""
        return untrained(source, self.task)

    def load(self, subset: str) -> Optional[FairseqDataset]:
        """Load a subset of the data folder as fairseq's task does; None if the folder lacks it."""
        if not self._settings:
            raise LotteryError(
                f"{self._source.path} is a {self._source.kind}, which does not say how examples of"
                f" {self._adapter.name} are made; give a checkpoint"
            )
        with self._saying(f"the examples called {subset} cannot be read"), numpy_has_compat():
            try:
                self.task.load_dataset(subset, combine=False)
            except FileNotFoundError:
                return None
        ignored = ", ".join(f"{name} {value}" for name, value in self._ignored.items())
        if ignored:
            logger.warning("examples are made without these settings of the training: %s", ignored)
        found: FairseqDataset = self.task.dataset(subset)
        found.set_epoch(1)
        return found

    @cached_property
    def _criterion(self) -> Any:
        with self._saying(f"the criterion {self._adapter.criterion} cannot be built"):
            return build_criterion(self._cfg.criterion, self.task).eval()

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of tokens, and the number of examples."""
        loss, size, _ = self._criterion(model, batch)
        return loss, int(size), len(batch["id"])

    @contextmanager
    def _saying(self, failure: str) -> Iterator[None]:
        """Turn what fairseq raises for odd settings or corrupted files into a sentence."""
        try:
            yield
        except LotteryError:
            raise
        except Exception as error:  # noqa: BLE001 - a task raises whatever it likes
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise LotteryError(
                f"{failure} ({reason}); {self.folder} is the data folder of {self._source.path}"
            ) from error


def _configuration(
    adapter: TaskAdapter, settings: Mapping[str, Any], folder: Path
) -> tuple[Any, dict[str, Any]]:
    """Return fairseq's configuration at its defaults, with a task's settings where allowed.

    Also the switches of the task that are on in ``settings`` and that the adapter does not allow.
    """
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
    whole = OmegaConf.structured(FairseqConfig)
    OmegaConf.set_struct(whole, False)
    whole.task = TASK_DATACLASS_REGISTRY[adapter.name](data=str(folder))
    defaults = {one.name: one.default for one in fields(TASK_DATACLASS_REGISTRY[adapter.name])}
    ignored = {}
    for name in [name for name in settings if name in defaults]:
        value, is_allowed = settings[name], re.fullmatch(adapter.examples, name)
        if is_allowed and _is_harmless(value):
            whole.task[name] = value
        elif defaults[name] is False and value is True and not is_allowed:
            ignored[name] = value
    whole.criterion = CRITERION_DATACLASS_REGISTRY[adapter.criterion]()
    whole.criterion._name = adapter.criterion
    return whole, ignored


def _is_harmless(value: Any) -> bool:
    """Whether a setting is a number of a size that examples have, or a word."""
    if type(value) in (bool, int, float):
        return abs(value) <= _LARGEST
    return re.fullmatch(r"\w{1,50}", str(value)) is not None


Evaluation = Union[PairsOfSentences, ExamplesOfTask]


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
