"""A file of ours as a model that runs in fairseq, with examples to run it on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
import torch
from fairseq.data import Dictionary, FairseqDataset
from fairseq.data.data_utils import batch_by_size
from fairseq.utils import move_to_cuda
from torch import Tensor

from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import Source, read_source, trainable, untie
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.inference.evaluation import Evaluation, evaluation_of
from fairseq_lottery.inference.model_builder import untrained
from fairseq_lottery.masks import Mask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Live:
    """A model of fairseq's in evaluation mode, and what it is evaluated on.

    Attributes:
        weights: the model's, name -> tensor, a tied tensor once; zeros where the file is slim.
        evaluation: examples for it, and its loss on them.
    """

    source: Source
    weights: Mapping[str, Tensor]
    model: Any
    evaluation: Evaluation

    @property
    def device(self) -> torch.device:
        """Where the model runs; ``weights`` are on the CPU."""
        found: torch.device = next(self.model.parameters()).device
        return found


def live(path: Union[str, Path], data: Optional[str] = None, cpu: bool = False) -> Live:
    """Bring a checkpoint, compact file, ticket or snapshot to life.

    Args:
        data: folder of ``fairseq-preprocess`` instead of the one that the training had.
        cpu: run it on the CPU where there is a GPU, too; as fairseq's ``--cpu``.
    """
    source = read_source(path)
    # twice as large as the model, and of no use to one that runs
    state = {name: part for name, part in source.state.items() if name != "last_optimizer_state"}
    source = replace(source, state=state)
    weights, task, _ = stored_weights(source)
    evaluation = evaluation_of(source, task, data)
    model = built(source, weights, evaluation.dictionaries, evaluation.build)
    if torch.cuda.is_available() and not cpu:
        model = model.cuda()
    return Live(source, weights, model, evaluation)


def stored_weights(source: Source) -> tuple[Mapping[str, Tensor], dict[str, Any], Any]:
    """The weights that fairseq would translate with, and the settings of the task and the model.

    Those of a half-precision checkpoint are rounded; ``source`` has its fp32 masters. Where
    something was cut out of the model, there are zeros.
    """
    if not source.state:
        return source.weights, {}, {}
    cfg = settings_of(source.state.get("cfg"))
    weights: Mapping[str, Tensor] = untie(source.state["model"])[0]
    if has_cut(cfg.get("model")):
        weights = components().whole_weights(weights, cfg["model"])
    return weights, settings_of(cfg.get("task")), cfg.get("model")


def built(
    source: Source,
    weights: Mapping[str, Tensor],
    dictionaries: Mapping[str, Dictionary],
    build: Callable[[Source], Any] = untrained,
) -> Any:
    """The model of a file in fairseq, in evaluation mode.

    Args:
        dictionaries: of the model, by name.
        build: returns the model with fresh weights.

    Raises:
        LotteryError: the weights are not of its architecture, or of other dictionaries.
    """
    try:
        model: Any = build(replace(source, weights=dict(weights)))
        parameters = trainable(model)
        if set(parameters) != set(weights):
            one = min(set(parameters) ^ set(weights))
            raise LotteryError(f"{one} is not in both")
        with torch.no_grad():
            for key, parameter in parameters.items():
                if parameter.shape != weights[key].shape:
                    raise LotteryError(f"{key} has another shape")
                parameter.copy_(weights[key])
    except Exception as error:  # noqa: BLE001 - whatever a model's own code raises
        reason = " ".join(str(error).split())[:300]
        raise LotteryError(
            f"the weights in {source.path} are not of the architecture in it: {reason}"
        ) from error
    tensors = model.state_dict()  # a tied one under each of its names
    for name, symbols in dictionaries.items():
        embedding = tensors.get(source.adapter.vocabularies[name].embedding)
        rows = len(symbols) if embedding is None else len(embedding)
        if rows != len(symbols):
            raise LotteryError(
                f"the model of {source.path} has {rows} symbols and a dictionary {len(symbols)};"
                " give the data that it was trained on with --data"
            )
    return model.eval()


@contextmanager
def masked(model: Any, mask: Mask) -> Iterator[None]:
    """While inside, the weights that a mask prunes are zero; then they are what they were.

    fairseq's fused paths, which may read copies of weights, are off meanwhile.
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
    """Some examples of a data set of fairseq's, by their numbers in it."""

    dataset: FairseqDataset
    numbers: Sequence[int]

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return int(max(map(self.dataset.num_tokens, self.numbers)))

    @cached_property
    def ordered(self) -> np.ndarray:
        """Numbers in the order of a set that is not shuffled: by the first size, then the next."""

        def sizes(number: int) -> tuple[Any, ...]:
            size = self.dataset.size(number)
            return tuple(size) if isinstance(size, Iterable) else (size,)

        return np.array(sorted(self.numbers, key=sizes), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Any:
        return self.dataset[self.numbers[place]]


def examples(made: Live, subset: str, most: Optional[int]) -> Examples:
    """Return a subset of the data folder, or examples of it evenly spread.

    Examples that are longer than the model takes are left out, as fairseq-train leaves them out
    of its training set; how many is logged.

    Args:
        subset: ``valid``, ``test``, ``train`` or what else the folder has.
        most: examples; None for all.

    Raises:
        LotteryError: the subset is missing, or the model takes none of its examples.
    """
    evaluation = made.evaluation
    data = evaluation.load(subset)
    if data is None or not len(data):
        raise LotteryError(
            f"{evaluation.folder} has no {evaluation.contents} called {subset}; give another"
            " --subset"
        )
    limits = made.model.max_positions()
    numbers, too_long = data.filter_indices_by_size(np.arange(len(data)), limits)
    takes = f"{limits} tokens"
    if isinstance(limits, tuple):
        takes = "{} source and {} target tokens".format(*limits)
    if len(too_long):
        logger.warning(
            f"{len(too_long)} of {len(data)} examples of {subset} are left out: the model takes"
            f" {takes}"
        )
    if not len(numbers):
        raise LotteryError(
            f"every example of {subset} in {evaluation.folder} is longer than the model takes"
            f" ({takes}); give another --subset"
        )
    if most is not None and most < len(numbers):
        numbers = numbers[[k * len(numbers) // most for k in range(most)]]
    return Examples(data, [int(number) for number in numbers])


def batches(found: Examples, tokens: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """All examples, each once, in fairseq's batches of up to so many tokens, on a device.

    Raises:
        LotteryError: an example is longer than that, or one was not run just once.
    """
    dataset = found.dataset
    if found.longest > tokens:
        raise LotteryError(
            f"--max-tokens {tokens} is less than the {found.longest} tokens of the longest example;"
            f" give at least {found.longest}"
        )
    run: list[int] = []
    for numbers in batch_by_size(
        found.ordered, dataset.num_tokens, max_tokens=tokens, required_batch_size_multiple=1
    ):
        batch = dataset.collater([dataset[int(number)] for number in numbers])
        yield move_to_cuda(batch, device) if device.type == "cuda" else batch
        run += batch["id"].tolist()
    if sorted(run) != found.numbers:
        raise LotteryError(
            f"fairseq has put {len(run)} of {len(found)} examples into batches; give another"
            " --max-tokens"
        )
