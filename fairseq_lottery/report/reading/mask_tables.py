"""Read the masks of finished runs: densities of matrices, and overlaps of masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats import load_mask, read_source
from fairseq_lottery.masks import Mask, above_chance, overlap
from fairseq_lottery.records.cells import DENSE, mask_file
from fairseq_lottery.report.reading.families import Family
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell


@dataclass(frozen=True)
class Overlap:
    """The overlap of two masks: the Jaccard index of their survivors, and its chance value.

    Attributes:
        data: data sets of the two masks, if they may differ.
    """

    a: Cell
    b: Cell
    jaccard: float
    chance: float
    data: tuple[str, str] = ("", "")

    @property
    def above_chance(self) -> float:
        """Overlap between 0 for independent masks and 1 for equal masks, which may be negative."""
        return above_chance(self.jaccard, self.chance)


@dataclass(frozen=True)
class Masks:
    """Densities and overlaps of the masks of a group.

    Attributes:
        densities: cell -> matrix -> share of its prunable weights that is kept.
        overlaps: pairs of one sparsity and either one seed or one technique.
        missing: number of recorded checkpoints that are not in the folder.
        unlike: number of pairs without overlap, because their prunable sets differ.
    """

    densities: dict[Cell, dict[str, float]] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)
    missing: int = 0
    unlike: int = 0


def read_masks(group: Group) -> Masks:
    """Read the mask of every recorded model, with masks of only one sparsity in memory.

    If a model has no mask file, as in older workflows, the model itself is read. Techniques with
    masks of other data sets are omitted; models with masks of pairs have no overlaps.

    Raises:
        LotteryError: an existing file cannot be read.
    """
    densities: dict[Cell, dict[str, float]] = {}
    overlaps: list[Overlap] = []
    missing = unlike = 0
    for sparsity in group.sparsities:
        masks: dict[Cell, Mask] = {}
        for cell in _cells(group, sparsity):
            path, model = group.models[cell]
            if model.matrices:
                densities[cell] = dict(sorted(model.matrices.items()))
            if model.pairs:
                continue  # it has a mask for each pair of languages
            if not _has_mask(path):
                missing += 1
                continue
            mask = _read_mask(path)
            if mask is not None:
                masks[cell] = mask
                kept = {name: 1 - mask.sparsity_of(name) for name in mask}
                densities.setdefault(cell, kept)
        for a, b in combinations(masks, 2):
            if (a[0] == b[0]) != (a[2] == b[2]):  # same technique, or same seed
                pair = _overlap(a, b, masks[a], masks[b])
                unlike += pair is None
                overlaps += [pair] if pair is not None else []
    return Masks(densities, overlaps, missing, unlike)


def overlaps_of_data_sets(family: Family, techniques: Sequence[str]) -> tuple[list[Overlap], int]:
    """Return overlaps of the masks of a technique at one sparsity, of all data sets and seeds.

    Returns:
        the overlaps, and the number of pairs without one, because their prunable sets differ.

    Raises:
        LotteryError: an existing file cannot be read.
    """
    overlaps, unlike = [], 0
    for technique in techniques:
        for sparsity in family.sparsities:
            masks: dict[tuple[str, Cell], Mask] = {}
            for name, group in family.groups.items():
                for cell in _cells(group, sparsity):
                    if cell[0] == technique and _has_mask(group.models[cell][0]):
                        mask = _read_mask(group.models[cell][0])
                        masks.update({(name, cell): mask} if mask is not None else {})
            for a, b in combinations(masks, 2):
                pair = _overlap(a[1], b[1], masks[a], masks[b])
                overlaps += [replace(pair, data=(a[0], b[0]))] if pair is not None else []
                unlike += pair is None
    return overlaps, unlike


def _cells(group: Group, sparsity: float) -> Iterable[Cell]:
    for name in group.techniques:
        for seed in group.seeds:
            is_own = name != DENSE and name not in group.sources
            if is_own and (name, sparsity, seed) in group.models:
                yield name, sparsity, seed


def _has_mask(model: Path) -> bool:
    return is_plain(mask_file(model)) or is_plain(model)


def _read_mask(model: Path) -> Optional[Mask]:
    file = mask_file(model)
    return load_mask(file) if is_plain(file) else read_source(model).mask


def _overlap(a: Cell, b: Cell, mask_a: Mask, mask_b: Mask) -> Optional[Overlap]:
    try:
        jaccard, chance = overlap(mask_a, mask_b)[""]
    except LotteryError:  # different prunable sets
        return None
    return Overlap(a, b, jaccard, chance)
