"""Batches of a run's training set for scores before its first update."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor, nn

from fairseq_lottery.compat import whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.streams import permutation, torch_seed
from fairseq_lottery.training.processes.ranks import process_number
from fairseq_lottery.training.start.start_mask import TrainingExamples


@dataclass(frozen=True)
class ScoreBatches:
    """Batches of one process, made anew at each iteration.

    Random numbers come from a seed of their own; the CPU's global generators are restored and
    those of GPUs not touched, so the training continues as if there had been no batches.

    Attributes:
        dataset: the training set.
        numbers: numbers of the examples of each batch.
        seed: seed of numpy's and torch's CPU generators while batches are made and used.
        device: device of the batches.
    """

    dataset: Any
    numbers: list[Any]
    seed: int
    device: torch.device

    def __iter__(self) -> Iterator[Any]:
        with own_generators(self.seed):
            for numbers in self.numbers:
                batch = self.dataset.collater([self.dataset[int(number)] for number in numbers])
                yield utils.move_to_cuda(batch, self.device) if self.device.type != "cpu" else batch


@contextmanager
def own_generators(seed: int) -> Iterator[None]:
    """Seed the CPU's global generators of numpy and torch inside the context, and restore them.

    ``torch.manual_seed`` would seed those of GPUs as well, from which dropout draws.
    """
    state = torch.get_rng_state()
    with data_utils.numpy_seed(seed):
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(state)


def training_examples(
    task: Any, criterion: Any, count: int, seed: int, one_by_one: bool = False
) -> TrainingExamples:
    """Return ``count`` batches of the training set, or all if it has fewer, and their loss.

    Batches have the sizes of the training. They depend on the seed alone, and the processes share
    them out in turn.

    Args:
        one_by_one: whether each example becomes a batch, so that there is no padding.

    Raises:
        LotteryError: the training set has no batches.
    """
    settings = whole_config(task.cfg).dataset
    dataset, model = task.datasets[settings.train_subset], task.run.model
    limits = utils.resolve_max_positions(
        task.max_positions(), model.max_positions(), settings.max_tokens
    )
    own = torch_seed(f"score-batches|{seed}")
    with own_generators(own):
        indices = dataset.ordered_indices()
        if limits is not None:
            indices = task.filter_indices_by_size(indices, dataset, limits, True)
        batches = list(
            dataset.batch_by_size(
                indices,
                max_tokens=settings.max_tokens,
                max_sentences=settings.batch_size,
                required_batch_size_multiple=settings.required_batch_size_multiple,
            )
        )
    if not batches:
        raise LotteryError(f"the training set {settings.train_subset} has no batches for scores")
    chosen = [batches[int(n)] for n in permutation(f"score-order|{seed}", len(batches))[:count]]
    rank, size = process_number()

    def loss(module: nn.Module, batch: Any) -> Tensor:
        was_training = criterion.training
        criterion.eval()
        try:
            summed: Tensor = criterion(module, batch)[0]
        finally:
            criterion.train(was_training)
        return summed

    device = next(model.parameters()).device
    shared = chosen[rank::size]
    if one_by_one:
        shared = [[number] for numbers in shared for number in numbers]
    own_batches = ScoreBatches(dataset, shared, own, device)
    return TrainingExamples(own_batches, len(chosen), loss)
