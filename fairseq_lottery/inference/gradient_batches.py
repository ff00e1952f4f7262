"""Sums of gradients of a stored model over batches of its data folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
import torch
from fairseq.data.data_utils import batch_by_size
from fairseq.utils import move_to_cuda
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.inference.loaded_model import (
    Examples,
    LoadedModel,
    examples,
    refuse_small_batches,
)
from fairseq_lottery.masks import Mask
from fairseq_lottery.masks.streams import permutation
from fairseq_lottery.saliency import UntrainedModel, sum_statistic


@dataclass(frozen=True)
class DrawnBatches:
    """Batches of a subset that a seed draws; they can be iterated several times.

    Attributes:
        selected: examples of the subset.
        numbers: numbers of the examples of each batch.
        total: number of batches of the whole subset.
        device: device of the batches.
        advance: called after each batch.
    """

    selected: Examples
    numbers: list[Any]
    total: int
    device: torch.device
    advance: Callable[[], Any]

    def __iter__(self) -> Iterator[Any]:
        dataset = self.selected.dataset
        for numbers in self.numbers:
            batch = dataset.collater([dataset[int(number)] for number in numbers])
            yield move_to_cuda(batch, self.device) if self.device.type == "cuda" else batch
            self.advance()


def draw_batches(
    loaded: LoadedModel,
    subset: str,
    count: int,
    tokens: int,
    seed: int,
    advance: Callable[[], Any] = lambda: None,
    one_by_one: bool = False,
) -> DrawnBatches:
    """Draw ``count`` batches of a subset of the data folder, or all if it has fewer.

    Args:
        tokens: maximum tokens of a batch.
        advance: called after each batch of each iteration.
        one_by_one: whether each example becomes a batch, so that there is no padding.
    """
    if count < 1:
        raise LotteryError(f"--batches {count} is out of range; give 1 or more")
    selected = examples(loaded, subset, None)
    refuse_small_batches(selected, tokens)
    every = batch_by_size(
        selected.ordered, selected.dataset.num_tokens, max_tokens=tokens,
        required_batch_size_multiple=1,
    )  # fmt: skip
    order = permutation(f"gradient-batches|{seed}", len(every))
    numbers = [np.asarray(every[int(number)]) for number in order[:count]]
    if one_by_one:
        numbers = [np.asarray([number]) for batch in numbers for number in batch]
    return DrawnBatches(selected, numbers, len(every), loaded.device, advance)


def sum_over_batches(
    loaded: LoadedModel, score: str, mask: Mask, batches: DrawnBatches
) -> tuple[dict[str, Tensor], int]:
    """Return matrix -> the sum that a score reads, on the CPU, and the number of tokens.

    The loss is that of the evaluation: cross-entropy for translation, and the loss of the task for
    others, which is divided by nothing.

    Args:
        mask: matrices to differentiate with respect to.
    """
    parameters = trainable(loaded.model)
    weights = {n: weight for n, weight in loaded.source.weights.items() if n in parameters}
    counted = 0

    def loss(module: nn.Module, batch: Any) -> Tensor:
        nonlocal counted
        value, tokens, _ = loaded.evaluation.loss(module, batch)
        counted += tokens
        return value

    model = UntrainedModel(loaded.model, batches, loss, weights=weights)
    sums = sum_statistic(model, score, mask)
    return {name: tensor.cpu() for name, tensor in sums.items()}, counted
