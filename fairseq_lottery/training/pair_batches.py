"""Batches of a multilingual data set, divided by pairs of languages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Callable, Optional

from fairseq.data import ConcatDataset, SampledMultiDataset

from fairseq_lottery.training.pair_weights import PairWeights


def divide_by_pairs(dataset: Any, pairs: Sequence[str]) -> Any:
    """Return a data set whose batches are a mapping from ``DATA:PAIR`` to a batch of fairseq.

    The sentences of a batch stay the same; each pair is padded for itself.

    Args:
        dataset: training set, or another set that has the pairs one after the other.
        pairs: pairs of another set.
    """
    if isinstance(dataset, ConcatDataset):
        keys = [f"main:{pair}" for pair in pairs]
        dataset = SampledMultiDataset(
            OrderedDict(zip(keys, dataset.datasets)), shuffle=False, virtual_size=None
        )
    dataset.collater = partial(_collate, dataset)
    return dataset


def _collate(dataset: Any, samples: Sequence[Any], **options: Any) -> Optional[Mapping[str, Any]]:
    if not samples:
        return None
    by_number: dict[int, list[Any]] = {}
    for number, sample in samples:
        by_number.setdefault(number, []).append(sample)
    return OrderedDict(
        (dataset.keys[number], dataset.datasets[number].collater(by_number[number], **options))
        for number in sorted(by_number)
    )


def pair_of(key: str) -> str:
    """Return the pair of languages in fairseq's name of a data set, such as ``main:en-de``."""
    return key.partition(":")[2]


def step_by_pairs(
    batches: Mapping[str, Any], weights: PairWeights, step: Callable[[Any], Any]
) -> Any:
    """Call ``step`` for the batch of each pair under its mask; return the sums of the results."""
    results = []
    for key, batch in batches.items():
        with weights.under(pair_of(key)):
            results.append(step(batch))
    losses, sizes, outputs = zip(*results)
    names = dict.fromkeys(name for output in outputs for name in output)
    logged = {name: sum(output[name] for output in outputs if name in output) for name in names}
    return sum(losses), sum(sizes), logged
