"""Measures of masks: overlap against chance, dead rows and columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.analysis.weights.dead_neurons import count_dead, expected_dead
from fairseq_lottery.analysis.weights.mask_chance import MaskOverlap
from fairseq_lottery.analysis.weights.model_matrices import paired_masks, place_of, survivors


def _overlaps(a: ModelFile, b: ModelFile) -> Iterator[tuple[Row, MaskOverlap]]:
    """Yield place and overlap of each matrix, and of all matrices together."""
    total: Optional[MaskOverlap] = None
    for name, keep_a, keep_b in paired_masks(a, b):
        own = MaskOverlap.of(keep_a, keep_b)
        yield place_of(name), own
        total = own if total is None else total + own
    if total is not None:
        yield {}, total


@measure(
    "mask-overlap",
    command="similarity",
    over="masks",
    models=2,
    title="overlap of masks",
    in_report=("jaccard",),
)
def mask_overlap(a: ModelFile, b: ModelFile) -> Iterator[Row]:
    """Yield the overlap of two masks with mean and deviation of independent masks.

    ``jaccard`` is the number of weights that both keep, divided by the number that either keeps;
    ``shared`` is divided by the survivors of the first model instead.
    """
    for place, overlap in _overlaps(a, b):
        mean, deviation = overlap.jaccard_by_chance
        shared, shared_deviation = overlap.share_by_chance
        statistics = {
            "jaccard": overlap.jaccard,
            "jaccard-expected": mean,
            "jaccard-deviation": deviation,
            "shared": overlap.share,
            "shared-expected": shared,
            "shared-deviation": shared_deviation,
        }
        for statistic, value in statistics.items():
            yield {**place, "statistic": statistic, "value": value}


@measure(
    "mask-overlap-z",
    command="similarity",
    over="masks",
    models=2,
    title="overlap of masks above chance, in standard deviations",
    limits=(None, None),
)
def mask_overlap_z(a: ModelFile, b: ModelFile) -> Iterator[Row]:
    """Yield how many standard deviations the shared survivors are above their mean by chance."""
    for place, overlap in _overlaps(a, b):
        yield {**place, "value": overlap.deviations}


@measure("dead-rows", command="complexity", over="masks", title="share of rows without survivors")
def dead_rows(model: ModelFile) -> Iterator[Row]:
    """Yield the share of dead rows (outputs), and the share that is dead by chance."""
    return _dead(model, 0)


@measure(
    "dead-columns", command="complexity", over="masks", title="share of columns without survivors"
)
def dead_columns(model: ModelFile) -> Iterator[Row]:
    """Yield the share of dead columns (inputs), and the share that is dead by chance."""
    return _dead(model, 1)


def _dead(model: ModelFile, axis: int) -> Iterator[Row]:
    lines, dead, by_chance = 0, 0, 0.0
    for name, _, kept in survivors(model):
        own = count_dead(kept, axis), expected_dead(kept.shape, int(kept.sum()), axis)
        yield from _shares(place_of(name), kept.shape[axis], *own)
        lines, dead, by_chance = lines + kept.shape[axis], dead + own[0], by_chance + own[1]
    yield from _shares({}, lines, dead, by_chance)


def _shares(place: Row, lines: int, dead: int, by_chance: float) -> Iterator[Row]:
    yield {**place, "statistic": "dead", "value": dead / lines}
    yield {**place, "statistic": "expected", "value": by_chance / lines}
