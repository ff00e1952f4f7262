"""Masks drawn along one training, and when they stop changing: early-bird tickets.

You et al. 2020 (Drawing early-bird tickets) draw a mask after every epoch and stop once the last
five masks are close; Chen et al. 2021 (EarlyBERT) do it in BERT. They draw masks of channels, heads
and neurons; these are of weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, full_mask, select

#: largest distance between the masks of an early-bird ticket, and the number of masks (You et al.)
EPSILON, MASKS = 0.1, 5
_FILES = re.compile(r"snapshot_\d+\.safetensors|checkpoint(_\d+)?(_?\d+|_last)\.pt|last\.pt")


@dataclass(frozen=True)
class DrawnMask:
    """A mask drawn from the weights at an update.

    Attributes:
        own: mask of the model itself, which keeps all that ``mask`` keeps; None for a dense model.
    """

    update: int
    mask: Mask
    own: Optional[Mask] = None


def mask_distance(a: Mask, b: Mask) -> float:
    """Return the share of prunable weights that one mask keeps and the other prunes.

    Masks of sparsity s differ by at most 2 (1 - s), and by 2 s (1 - s) on average if they are
    independent, so a threshold means little at high sparsity.

    Raises:
        LotteryError: the masks have different prunable sets.
    """
    shared = a.prunable - a.intersection(b).pruned
    return (2 * a.prunable - a.pruned - b.pruned - 2 * shared) / a.prunable


def distance_by_chance(
    a: Mask, b: Mask, own_a: Optional[Mask] = None, own_b: Optional[Mask] = None
) -> float:
    """Return the mean of ``mask_distance`` for independent masks that keep as much per matrix.

    Args:
        own_a, own_b: masks of the models, from whose survivors a and b are drawn; by default from
            all prunable weights. Without them, what the models have pruned already would count as
            a coincidence.
    """
    common = own_a if own_b is None else own_b if own_a is None else own_a.intersection(own_b)
    differing = 0.0
    for name in a:
        kept_a, kept_b = _kept(a, name), _kept(b, name)
        from_a, from_b, from_both = (
            a.size(name) if own is None else _kept(own, name) for own in (own_a, own_b, common)
        )
        shared = kept_a / max(from_a, 1) * (kept_b / max(from_b, 1)) * from_both
        differing += kept_a + kept_b - 2 * shared
    return differing / a.prunable


def _kept(mask: Mask, name: str) -> int:
    return mask.size(name) - mask.pruned_in(name)


def all_distances(masks: Sequence[Mask]) -> Array:
    """Return the distances between all pairs of masks, (masks, masks)."""
    distances = np.zeros((len(masks), len(masks)))
    for row, a in enumerate(masks):
        for column, b in enumerate(masks[:row]):
            distances[row, column] = distances[column, row] = mask_distance(a, b)
    return distances


def first_early_bird(
    distances: Array, epsilon: float = EPSILON, masks: int = MASKS
) -> Optional[int]:
    """Return the number of the first mask that is close to the masks before it; None without one.

    Args:
        distances: ``all_distances`` of masks in the order of the training.
        epsilon: the distance to each of the previous ``masks - 1`` masks must not exceed it.
    """
    for number in range(masks - 1, len(distances)):
        if (distances[number, number - masks + 1 : number] <= epsilon).all():
            return number
    return None


def draw_along(
    folder: Union[str, Path],
    sparsity: float,
    scope: str = "layer",
    prunable: str = "all-matrices",
) -> list[DrawnMask]:
    """Draw a mask by magnitude from every snapshot and checkpoint of a training, by update.

    One model is in memory at a time. Weights that a model's own mask prunes stay pruned.

    Args:
        folder: folder with ``snapshot_N.safetensors`` or fairseq's checkpoints, but the best one.
        sparsity: share of the prunable weights that each mask prunes.
        scope, prunable: as in ``fairseq-lottery ticket``.

    Raises:
        LotteryError: fewer than two updates have a file, or a mask cannot be drawn.
    """
    place = Path(folder)
    if not place.is_dir():
        raise LotteryError(f"{place} is not a folder; give the folder of a training")
    drawn: dict[int, DrawnMask] = {}
    for path in sorted(place.iterdir()):
        if not _FILES.fullmatch(path.name):
            continue
        model = ModelFile.open(path)
        update = model.source.update
        if update is None:
            raise LotteryError(f"{path} has no number of updates; remove it from the folder")
        if update in drawn:
            continue
        current = model.mask or full_mask(model.source.shapes, prunable)
        scores = {name: model.weights[name].abs() for name in current}
        try:
            mask = select(scores, current, sparsity, scope)
        except LotteryError as error:
            raise LotteryError(f"no mask can be drawn from {path}: {error}") from error
        drawn[update] = DrawnMask(update, mask, model.mask)
    if len(drawn) < 2:
        raise LotteryError(
            f"{place} has snapshots or checkpoints of {len(drawn)} updates, expected at least 2;"
            " train with --snapshot-updates or --save-interval-updates"
        )
    return [drawn[update] for update in sorted(drawn)]


def distance_rows(drawn: Sequence[DrawnMask], sparsity: float) -> Iterator[Row]:
    """Yield the distance of each mask to the ``previous`` and to the ``last`` one, and by chance.

    The column ``component`` has the update, and ``threshold`` the sparsity.
    """
    for before, one in zip([None, *drawn], drawn):
        row: Row = {"measure": "mask-distance", "threshold": sparsity, "component": one.update}
        if before is not None:
            distance = mask_distance(before.mask, one.mask)
            yield {**row, "statistic": "previous", "value": distance}
        if one is not drawn[-1]:
            last = drawn[-1]
            distance = mask_distance(one.mask, last.mask)
            yield {**row, "statistic": "last", "value": distance}
            chance = distance_by_chance(one.mask, last.mask, one.own, last.own)
            yield {**row, "statistic": "expected", "value": chance}
