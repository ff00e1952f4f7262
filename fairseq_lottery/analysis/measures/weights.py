"""Measures of weights: signs kept, distance travelled, norms of the survivors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, Optional

import numpy as np

from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.weights.model_matrices import paired_weights, place_of, survivors
from fairseq_lottery.analysis.weights.weight_change import Change


@measure(
    "sign-agreement",
    command="similarity",
    over="weights",
    models=2,
    title="share of weights that keep their sign",
)
def sign_agreement(start: ModelFile, end: ModelFile) -> Iterator[Row]:
    """Yield the share of signs of the first model that the second has too, by matrix and in all.

    Among ``survivors`` half of the signs agree by chance. Among ``all`` weights a pruned one has
    lost its sign.
    """
    return _changes(start, end, lambda change: change.agreement)


@measure(
    "weight-distance",
    command="similarity",
    over="weights",
    models=2,
    title="Euclidean distance between weights",
    limits=(0.0, None),
)
def weight_distance(start: ModelFile, end: ModelFile) -> Iterator[Row]:
    """Yield the Euclidean distance that weights travelled, by matrix and in all."""
    return _changes(start, end, lambda change: change.distance)


@measure(
    "relative-weight-distance",
    command="similarity",
    over="weights",
    models=2,
    title="distance between weights, relative to the norm of the first model",
    limits=(0.0, None),
)
def relative_weight_distance(start: ModelFile, end: ModelFile) -> Iterator[Row]:
    """Yield the distance divided by the norm at the start, by matrix and in all."""
    return _changes(start, end, lambda change: change.relative_distance)


def _changes(
    start: ModelFile, end: ModelFile, value_of: Callable[[Change], Optional[float]]
) -> Iterator[Row]:
    """Yield a value for the survivors of both models, and for all prunable weights."""
    key = "changes", start.name
    if key not in end.shared:
        end.shared[key] = list(_compare(start, end))
    for place, changes in end.shared[key]:
        for statistic, change in changes.items():
            value = value_of(change)
            if value is not None:
                yield {**place, "statistic": statistic, "value": value}


def _compare(start: ModelFile, end: ModelFile) -> Iterator[tuple[Row, dict[str, Change]]]:
    """Yield place and changes of each matrix, and of all matrices together."""
    total = {"survivors": Change(), "all": Change()}
    for name, first, last, both in paired_weights(start, end):
        changes = {"survivors": Change.of(first, last, both), "all": Change.of(first, last)}
        yield place_of(name), changes
        total = {statistic: total[statistic] + changes[statistic] for statistic in total}
    yield {}, total


@measure(
    "survivor-norm",
    command="complexity",
    over="weights",
    title="magnitude of the survivors",
    limits=(0.0, None),
    in_report=("mean",),
)
def survivor_norm(model: ModelFile) -> Iterator[Row]:
    """Yield mean magnitude, root mean square and Euclidean norm of the survivors.

    Brix et al. 2020 (section 2.5) switch from SLT to magnitude pruning because the weights of later
    SLT tickets grow. The mean shows it: the Euclidean norm also depends on the sparsity.
    """
    counts, sums, squares = 0, 0.0, 0.0
    for name, weights, kept in survivors(model):
        magnitudes = np.abs(weights[kept].astype(np.float64))
        own = magnitudes.size, float(magnitudes.sum()), float(np.square(magnitudes).sum())
        yield from _norms(place_of(name), *own)
        counts, sums, squares = counts + own[0], sums + own[1], squares + own[2]
    yield from _norms({}, counts, sums, squares)


def _norms(place: Row, count: int, total: float, squares: float) -> Iterator[Row]:
    if count:
        yield {**place, "statistic": "mean", "value": total / count}
        yield {**place, "statistic": "rms", "value": float(np.sqrt(squares / count))}
    yield {**place, "statistic": "l2", "value": float(np.sqrt(squares))}
