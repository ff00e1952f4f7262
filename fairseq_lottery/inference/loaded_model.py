"""A stored model, loaded into fairseq for evaluation, with examples to evaluate it on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import batch_by_size
from fairseq.utils import move_to_cuda
from torch import Tensor

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import Source, read_source, trainable, untie
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.inference.evaluation import Evaluation, evaluation_of
from fairseq_lottery.inference.model_builder import build_untrained
from fairseq_lottery.masks import Mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A fairseq model in evaluation mode, and the examples to evaluate it on.

    Attributes:
        source: file of the model.
        weights: name -> tensor on the CPU, a tied tensor once; zeros for components that a slim
            file lacks.
        model: fairseq's model.
        evaluation: examples for the model, and its loss on them.
    """

    source: Source
    weights: Mapping[str, Tensor]
    model: Any
    evaluation: Evaluation

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        device: torch.device = next(self.model.parameters()).device
        return device


def load_for_evaluation(
    path: Union[str, Path],
    data: Optional[str] = None,
    cpu: bool = False,
    examples_of: Optional[Union[str, Path]] = None,
) -> LoadedModel:
    """Load a checkpoint, compact file, ticket or snapshot as a model in evaluation mode.

    Args:
        path: the file.
        data: data folder that replaces that of the training.
        cpu: use the CPU even if there is a GPU, as fairseq's ``--cpu`` does.
        examples_of: file of another model, whose task makes the examples. The loaded model then has
            no head, so it has activations and attention on these examples, but no loss.

    Raises:
        LotteryError: the weights do not match the architecture or the dictionaries of the examples;
            or ``examples_of`` is a model of another kind.
    """
    source = read_source(path)
    source.refuse_pair_masks()
    # the optimizer state is twice as large as the model, and evaluation does not need it
    state = {name: part for name, part in source.state.items() if name != "last_optimizer_state"}
    source = replace(source, state=state)
    weights = stored_weights(source)
    if examples_of is None:
        evaluation = evaluation_of(source, data)
        model = build_with_weights(source, weights, evaluation.dictionaries, evaluation.task)
    else:
        evaluation = _evaluation_of_other(source, examples_of, data)
        weights = source.adapter.without_head(weights)
        model = build_with_weights(source, weights, evaluation.dictionaries)
    if torch.cuda.is_available() and not cpu:
        model = model.cuda()
    return LoadedModel(source, weights, model, evaluation)


def _evaluation_of_other(
    source: Source, examples_of: Union[str, Path], data: Optional[str]
) -> Evaluation:
    """Return the evaluation of another model, whose inputs ``source`` takes, too."""
    evaluation = evaluation_of(read_source(examples_of), data)
    own, other = source.adapter, evaluation.adapter
    if own.translates != other.translates or set(own.stacks) != set(other.stacks):
        raise LotteryError(
            f"the task of {source.path} is {own.name}, whose models do not take examples of"
            f" {other.name}, the task of {examples_of}; name a model of the same kind"
        )
    if source.in_file is not None:
        source.in_file.refuse_other(evaluation.symbols, source.path)
    return evaluation


def stored_weights(source: Source) -> Mapping[str, Tensor]:
    """Return the weights that fairseq translates with.

    Weights of a half-precision checkpoint are rounded; ``source`` has its fp32 masters. Weights of
    components that were cut out are zero.
    """
    if not source.state:
        return source.weights
    weights: Mapping[str, Tensor] = untie(source.state["model"])[0]
    if has_cut(source.settings.model):
        weights = components().whole_weights(weights, source.settings.model)
    return weights


def build_with_weights(
    source: Source,
    weights: Mapping[str, Tensor],
    dictionaries: Mapping[str, Dictionary],
    task: Any = None,
) -> Any:
    """Build the fairseq model of a file with its weights, in evaluation mode.

    Args:
        dictionaries: fairseq's dictionaries of the model, by name.
        task: fairseq task that builds the model, as in ``build_untrained``.

    Raises:
        LotteryError: the weights do not match the architecture or the dictionaries.
    """
    with matching(source.path):
        model: Any = build_untrained(replace(source, weights=dict(weights)), task)
        with torch.no_grad():
            for name, parameter in parameters_of(model, weights, source.adapter).items():
                parameter.copy_(weights[name])
    refuse_other_dictionaries(model, source, dictionaries)
    return model.eval()


@contextmanager
def matching(path: object) -> Iterator[None]:
    """Raise ``LotteryError`` if a model cannot be built or does not match its weights."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a model's code raises any error
        reason = " ".join(str(error).split())[:300]
        raise LotteryError(
            f"the weights in {path} do not match its architecture: {reason}"
        ) from error


def parameters_of(
    model: Any, weights: Mapping[str, Tensor], adapter: TaskAdapter
) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters of a model; refuse weights of other names or shapes."""
    parameters = trainable(model)
    # heads that other programs added to the file are not those of its task
    names = {name for name in weights if name in parameters or not adapter.is_head(name)}
    if set(parameters) != names:
        raise LotteryError(f"only one of them has {min(set(parameters) ^ names)}")
    for name, parameter in parameters.items():
        if parameter.shape != weights[name].shape:
            expected, shape = tuple(parameter.shape), tuple(weights[name].shape)
            raise LotteryError(f"{name} has shape {shape}, expected {expected}")
    return parameters


def refuse_other_dictionaries(
    model: Any, source: Source, dictionaries: Mapping[str, Dictionary]
) -> None:
    """Refuse dictionaries that have other sizes than the embeddings of a model."""
    tensors = model.state_dict()  # a tied one under each of its names
    for name, symbols in dictionaries.items():
        embedding = tensors.get(source.adapter.vocabularies[name].embedding)
        rows = len(symbols) if embedding is None else len(embedding)
        if rows != len(symbols):
            raise LotteryError(
                f"the dictionary {name} has {len(symbols)} symbols, but the model of"
                f" {source.path} has {rows}; give the data of its training with --data"
            )


@contextmanager
def masked(model: Any, mask: Mask) -> Iterator[None]:
    """Set pruned weights to zero inside the context, and restore them afterwards.

    fairseq's fused paths, which may read copies of weights, are off inside the context.
    """
    parameters = trainable(model)
    before = {name: parameters[name].detach().clone() for name in mask}
    try:
        with torch.no_grad():
            for name, keep in mask.items():
                parameters[name].masked_fill_(~keep.to(parameters[name].device), 0)
        with modules_are_used(model):
            yield
    finally:
        with torch.no_grad():
            for name, weight in before.items():
                parameters[name].copy_(weight)


@dataclass(frozen=True)
class Examples:
    """Examples of a fairseq data set, selected by their numbers in it."""

    dataset: FairseqDataset
    numbers: Sequence[int]

    @cached_property
    def longest(self) -> int:
        """Length of the longest example in tokens."""
        return int(max(map(self.dataset.num_tokens, self.numbers)))

    @cached_property
    def ordered(self) -> np.ndarray:
        """Numbers in the order of an unshuffled set: by the first size, then by the next."""

        def sizes(number: int) -> tuple[Any, ...]:
            size = self.dataset.size(number)
            return tuple(size) if isinstance(size, Iterable) else (size,)

        return np.array(sorted(self.numbers, key=sizes), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.numbers[index]]


def examples(loaded: LoadedModel, subset: str, most: Optional[int]) -> Examples:
    """Return all examples of a subset of the data folder, or evenly spread ones.

    Examples that exceed the model's limits are skipped with a warning, as fairseq-train skips them
    in its training set.

    Args:
        subset: ``valid``, ``test``, ``train`` or another subset of the folder.
        most: maximum number of examples; None for all.

    Raises:
        LotteryError: the subset is missing, or all its examples exceed the model's limits.
    """
    evaluation = loaded.evaluation
    data = evaluation.load(subset)
    if data is None or not len(data):
        raise LotteryError(
            f"{evaluation.folder} has no {evaluation.contents} called {subset}; give another"
            " --subset"
        )
    limits = loaded.model.max_positions()
    numbers, too_long = data.filter_indices_by_size(np.arange(len(data)), limits)
    limit = f"{limits} tokens"
    if isinstance(limits, tuple):
        limit = "{} source and {} target tokens".format(*limits)
    if len(too_long):
        logger.warning(
            f"{len(too_long)} of {len(data)} examples of {subset} are skipped: the model takes at"
            f" most {limit}"
        )
    if not len(numbers):
        raise LotteryError(
            f"every example of {subset} in {evaluation.folder} exceeds the model's limit of"
            f" {limit}; give another --subset"
        )
    if most is not None and most < len(numbers):
        numbers = numbers[[k * len(numbers) // most for k in range(most)]]
    return Examples(data, [int(number) for number in numbers])


def refuse_small_batches(selected: Examples, tokens: int) -> None:
    """Refuse batches that are too small for the longest example."""
    if selected.longest > tokens:
        raise LotteryError(
            f"--max-tokens {tokens} is less than the {selected.longest} tokens of the longest"
            f" example; give at least {selected.longest}"
        )


def batches(selected: Examples, tokens: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Yield every example once, in fairseq's batches of at most ``tokens`` tokens, on a device.

    Raises:
        LotteryError: an example exceeds ``tokens``, or was not yielded exactly once.
    """
    dataset = selected.dataset
    refuse_small_batches(selected, tokens)
    yielded: list[int] = []
    for numbers in batch_by_size(
        selected.ordered, dataset.num_tokens, max_tokens=tokens, required_batch_size_multiple=1
    ):
        batch = dataset.collater([dataset[int(number)] for number in numbers])
        yield move_to_cuda(batch, device) if device.type == "cuda" else batch
        yielded += batch["id"].tolist()
    if sorted(yielded) != selected.numbers:
        raise LotteryError(
            f"fairseq put {len(yielded)} of {len(selected)} examples into batches; give another"
            " --max-tokens"
        )
