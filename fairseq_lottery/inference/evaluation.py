"""Evaluation of a model: examples of its data folder, and its loss on them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY, build_criterion
from fairseq.data import Dictionary, FairseqDataset
from fairseq.dataclass.configs import FairseqConfig
from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_lottery.adapters import PairTokens, TaskAdapter
from fairseq_lottery.compat import numpy_has_compat
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Source, read_dictionaries
from fairseq_lottery.inference.scores.labels import (
    class_names,
    positive_class,
    refuse_more_classes,
    refuse_other_classes,
    refuse_unlabelled,
)
from fairseq_lottery.inference.scores.predictions import (
    METRICS,
    Predictions,
    captured_output,
    predict,
)
from fairseq_lottery.inference.sentences import Text, dictionary, load_pairs, text_of

logger = logging.getLogger(__name__)

#: largest number in the settings of a task, such as the tokens of an example
_LARGEST = 1 << 14


class PairsOfSentences:
    """Pairs of sentences, and the cross-entropy of the target sides under teacher forcing.

    Attributes:
        adapter: adapter of the task of the examples.
        symbols: symbols of the model's dictionaries, by name.
        folder: data folder; None if it is missing.
        dictionaries: fairseq's dictionaries, by name.
        contents: description of the examples in a subset, for error messages.
        task: fairseq task that builds the model; None for a stand-in.
        metrics: name of a metric of the model -> whether a larger value is better.
    """

    task: Any = None
    metrics: Mapping[str, bool] = {"loss": False, "bleu": True}

    def __init__(self, text: Text, source: Source) -> None:
        self.text, self.symbols, self.folder = text, text.dictionaries, text.folder
        self.adapter = source.adapter
        self.dictionaries: Mapping[str, Dictionary] = text.fairseq_dictionaries
        self._path = source.path
        names = [*text.names, f"{text.target}-{text.source}"] if not text.tokens else text.names
        self.contents = f"pairs of sentences in {' or '.join(names)}"

    def load(self, subset: str) -> Optional[FairseqDataset]:
        """Load a subset of the data folder as fairseq's task does; None if the folder lacks it."""
        if self.folder is None:
            raise LotteryError(
                f"the data folder of {self._path} does not exist; give a folder with the same"
                " dictionaries by --data"
            )
        pairs = load_pairs(self.text, subset)
        return None if pairs is None or pairs.tgt is None else pairs

    def tokens_of(self, subset: str) -> PairTokens:
        """Return the symbols that the task adds to the sentences of a subset.

        Raises:
            LotteryError: the subset has several pairs of languages.
        """
        text, name = self.text.of_subset(subset)
        if len(text.pairs) > 1:
            raise LotteryError(
                f"--metric bleu translates one pair of languages; give --subset"
                f" {name}.{text.names[0]}, or another of {', '.join(text.names[1:])}"
            )
        return text.tokens.get(text.pairs[0], PairTokens())

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of tokens, and the number of examples."""
        return self._loss(self._log_probs(model, batch), model, batch)

    def loss_and_predictions(
        self, model: Any, batch: Mapping[str, Any]
    ) -> tuple[Tensor, int, Optional[Predictions]]:
        """Return the summed loss in nats and the number of tokens; None for predictions."""
        loss, tokens, _ = self.loss(model, batch)
        return loss, tokens, None

    def loss_and_errors(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of wrong tokens, and the number of tokens.

        A token is wrong if the model gives another token a higher probability.
        """
        scores = self._log_probs(model, batch)
        loss, tokens, _ = self._loss(scores, model, batch)
        right = (scores.argmax(-1) == batch["target"]) & _is_token(model, batch)
        return loss, tokens - int(right.sum()), tokens

    @staticmethod
    def _log_probs(model: Any, batch: Mapping[str, Any]) -> Tensor:
        scores: Tensor = model.get_normalized_probs(model(**batch["net_input"]), log_probs=True)
        return scores

    @staticmethod
    def _loss(scores: Tensor, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        picked = scores.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1)
        real = _is_token(model, batch)
        return -picked[real].sum(), int(real.sum()), len(batch["target"])


def _is_token(model: Any, batch: Mapping[str, Any]) -> Tensor:
    """Return where the target is not padding."""
    real: Tensor = batch["target"] != model.decoder.padding_idx
    return real


class ExamplesOfTask:
    """Examples as fairseq's own task makes them, and the loss of fairseq's own criterion.

    Random parts of the examples use seed 1 and epoch 1, so losses of different models are
    comparable. The class has the attributes and methods of ``PairsOfSentences``.

    Args:
        source: file of the model. Of its task's settings, only numbers and words that the adapter
            allows are used.
        data: folder that replaces that of the training.

    Raises:
        LotteryError: fairseq does not have the task, or the data folder belongs to another task.
    """

    def __init__(self, source: Source, data: Optional[str]) -> None:
        adapter, settings = source.adapter, source.settings.task
        try:
            data_folder = adapter.find_folder(settings, data)
        except LotteryError as error:
            raise LotteryError(
                f"the data folder of {source.path} is unknown: {error}; give it with --data"
            ) from None
        self.symbols, self.folder = read_dictionaries(data_folder), data_folder.path
        if source.own_dictionaries is not None:
            source.own_dictionaries.refuse_other(self.symbols, source.path)
        self.adapter, self._source, self._settings = adapter, source, settings
        self.contents = f"examples of {adapter.name}"
        with self._one_sentence("the settings of the task are malformed"):
            self._cfg, self._ignored = _configuration(adapter, settings, self.folder)

    @cached_property
    def task(self) -> Any:
        """fairseq's task; None for a ticket or snapshot, whose model has no head of the task."""
        if not self._settings:
            return None
        settings = self._cfg.task
        with self._one_sentence("the task cannot be set up"):
            if self._is_labelled:
                refuse_unlabelled(
                    str(self.folder), settings.num_classes, settings.regression_target
                )
            return TASK_REGISTRY[self.adapter.name].setup_task(self._cfg.task)

    @property
    def dictionaries(self) -> Mapping[str, Dictionary]:
        """The dictionaries as fairseq has them, by name."""
        vocabularies = self.adapter.vocabularies.items()
        if self.task is None:
            return {name: dictionary(self.symbols[name]) for name, _ in vocabularies}
        return {name: getattr(self.task, v.attributes[0]) for name, v in vocabularies}

    def load(self, subset: str) -> Optional[FairseqDataset]:
        """Load a subset of the data folder as fairseq's task does; None if the folder lacks it."""
        if not self._settings:
            raise LotteryError(
                f"{self._source.path} is a {self._source.kind} without settings of the task"
                f" {self.adapter.name}, which examples require; give a checkpoint"
            )
        with self._one_sentence(f"the examples called {subset} cannot be read"), numpy_has_compat():
            try:
                self.task.load_dataset(subset, combine=False)
            except (FileNotFoundError, AssertionError) as error:
                if isinstance(error, AssertionError) and "could not find" not in str(error):
                    raise
                return None
        ignored = ", ".join(f"{name} {value}" for name, value in self._ignored.items())
        if ignored:
            logger.warning("examples ignore these settings of the training: %s", ignored)
        dataset: FairseqDataset = self.task.dataset(subset)
        if self._is_labelled:
            self._refuse_other_labels(dataset, subset)
        dataset.set_epoch(1)
        return dataset

    @cached_property
    def _criterion(self) -> Any:
        with self._one_sentence(f"the criterion {self.adapter.criterion} cannot be built"):
            return build_criterion(self._cfg.criterion, self.task).eval()

    def loss(self, model: Any, batch: Mapping[str, Any]) -> tuple[Tensor, int, int]:
        """Return the summed loss in nats, the number of tokens, and the number of examples.

        Raises:
            LotteryError: the examples have no labels, as those of GLUE's test sets.
        """
        if "target" not in batch:
            raise LotteryError(
                f"the examples in {self.folder} have no labels; give another --subset"
            )
        loss, size, _ = self._criterion(model, batch)
        return loss, int(size), len(batch["id"])

    def loss_and_predictions(
        self, model: Any, batch: Mapping[str, Any]
    ) -> tuple[Tensor, int, Optional[Predictions]]:
        """Return the summed loss and its divisor, and the predictions of labelled examples."""
        if not self._is_labelled:
            return (*self.loss(model, batch)[:2], None)
        with captured_output(model) as outputs:
            loss, size, _ = self.loss(model, batch)
        settings = self._cfg.task
        positive = positive_class(class_names(self.task), settings.num_classes)
        return loss, size, predict(outputs[-1], batch, settings.regression_target, positive)

    @property
    def _is_labelled(self) -> bool:
        return not METRICS.isdisjoint(self.adapter.metrics)

    def _refuse_other_labels(self, dataset: FairseqDataset, subset: str) -> None:
        """Refuse examples without labels, or whose labels do not match the head of the model."""
        if len(dataset) and "target" not in dataset[0]:
            raise LotteryError(
                f"the examples called {subset} in {self.folder} have no labels; give a --subset"
                " with labels"
            )
        names, path = class_names(self.task), self._source.path
        if not self._cfg.task.regression_target:
            refuse_more_classes(names, self._cfg.task.num_classes, self.folder)
            refuse_other_classes(names, self._source.lottery.get("classes"), self.folder, path)

    @property
    def metrics(self) -> Mapping[str, bool]:
        """Name of a metric of the model -> whether a larger value is better."""
        names = {"loss"}
        if self._is_labelled:
            nothing, settings = np.zeros(0), self._cfg.task
            positive = positive_class(class_names(self.task), settings.num_classes)
            empty = Predictions(nothing, nothing, settings.regression_target, positive)
            names |= set(empty.metrics)
        return {name: better for name, better in self.adapter.metrics.items() if name in names}

    @contextmanager
    def _one_sentence(self, failure: str) -> Iterator[None]:
        """Turn errors of fairseq into a LotteryError that starts with ``failure``."""
        try:
            yield
        except LotteryError:
            raise
        except Exception as error:  # noqa: BLE001 - a task raises any error
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise LotteryError(
                f"{failure} ({reason}); {self.folder} is the data folder of {self._source.path}"
            ) from error


def _configuration(
    adapter: TaskAdapter, settings: Mapping[str, Any], folder: Path
) -> tuple[Any, dict[str, Any]]:
    """Return fairseq's default configuration with the task's allowed settings.

    Also return the switches of the task that are on in ``settings`` but that the adapter does not
    allow.
    """
    if adapter.name not in TASK_DATACLASS_REGISTRY:
        raise LotteryError(
            f"fairseq has no task {adapter.name} with a dataclass; give the folder that registers"
            " it with --user-dir"
        )
    if adapter.criterion not in CRITERION_DATACLASS_REGISTRY:
        raise LotteryError(
            f"fairseq has no criterion {adapter.criterion} with a dataclass; name another in the"
            f" adapter of {adapter.name}"
        )
    cfg = OmegaConf.structured(FairseqConfig)
    OmegaConf.set_struct(cfg, False)
    cfg.task = TASK_DATACLASS_REGISTRY[adapter.name](data=str(folder))
    defaults = {f.name: f.default for f in fields(TASK_DATACLASS_REGISTRY[adapter.name])}
    ignored = {}
    for name in [name for name in settings if name in defaults]:
        value, is_allowed = settings[name], re.fullmatch(adapter.examples, name)
        if is_allowed and _is_harmless(value):
            cfg.task[name] = value
        elif defaults[name] is False and value is True and not is_allowed:
            ignored[name] = value
    cfg.criterion = CRITERION_DATACLASS_REGISTRY[adapter.criterion]()
    cfg.criterion._name = adapter.criterion
    for name in [field.name for field in fields(CRITERION_DATACLASS_REGISTRY[adapter.criterion])]:
        if name in defaults and name in settings and re.fullmatch(adapter.examples, name):
            cfg.criterion[name] = cfg.task[name]
    return cfg, ignored


def _is_harmless(value: Any) -> bool:
    """Return whether a setting is a number of at most ``_LARGEST``, or words between commas."""
    if type(value) in (bool, int, float):
        return abs(value) <= _LARGEST
    return re.fullmatch(r"[\w,]{1,50}", str(value)) is not None


Evaluation = Union[PairsOfSentences, ExamplesOfTask]


def evaluation_of(source: Source, data: Optional[str] = None) -> Evaluation:
    """Return the evaluation of a model: pairs of sentences, or examples of its task.

    Args:
        source: file of the model.
        data: folder that replaces that of the training.
    """
    if source.adapter.translates:
        return PairsOfSentences(text_of(source, data, needed=True), source)
    return ExamplesOfTask(source, data)
