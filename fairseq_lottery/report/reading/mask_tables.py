"""Reading the masks of finished runs: densities per matrix, overlaps between masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats import load_mask, read_source
from fairseq_lottery.masks import Mask, overlap
from fairseq_lottery.records.cells import DENSE, mask_file
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell


@dataclass(frozen=True)
class Overlap:
    """What two masks share: the Jaccard index of their survivors, and what chance expects."""

    a: Cell
    b: Cell
    found: float
    chance: float

    @property
    def above_chance(self) -> float:
        """0 for two independent masks, 1 for two equal ones; below 0 where they avoid each other.

        Two masks that keep everything share all that there is, by chance as well: 1.
        """
        return (self.found - self.chance) / (1 - self.chance) if self.chance < 1 else 1.0


@dataclass(frozen=True)
class Masks:
    """What was found in the masks.

    Attributes:
        densities: cell -> matrix -> share of its prunable weights that is kept.
        overlaps: pairs of one sparsity: of techniques in a seed, of seeds in a technique.
        missing: how many checkpoints are recorded but not in the folder.
        unlike: pairs that have no overlap because their prunable sets differ.
    """

    densities: dict[Cell, dict[str, float]] = field(default_factory=dict)
    overlaps: list[Overlap] = field(default_factory=list)
    missing: int = 0
    unlike: int = 0


def look(group: Group) -> Masks:
    """Read the mask of every recorded model; only masks of one sparsity are held at a time.

    A model that has no file of its mask alone, as older workflows left none, is read itself.

    Raises:
        LotteryError: a file that is there cannot be read.
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
            own = mask_file(path)
            if not is_plain(own) and not is_plain(path):
                missing += 1
                continue
            mask = load_mask(own) if is_plain(own) else read_source(path).mask
            if mask is not None:
                masks[cell] = mask
                kept = {name: 1 - mask.sparsity_of(name) for name in mask}
                densities.setdefault(cell, kept)
        for a, b in combinations(masks, 2):
            if (a[0] == b[0]) != (a[2] == b[2]):  # one of technique and seed is shared
                pair = _overlap(a, b, masks[a], masks[b])
                unlike += pair is None
                overlaps += [pair] if pair is not None else []
    return Masks(densities, overlaps, missing, unlike)


def _cells(group: Group, sparsity: float) -> Iterable[Cell]:
    for name in group.techniques:
        for seed in group.seeds:
            if name != DENSE and (name, sparsity, seed) in group.models:
                yield name, sparsity, seed


def _overlap(a: Cell, b: Cell, one: Mask, other: Mask) -> Optional[Overlap]:
    try:
        found, chance = overlap(one, other)[""]
    except LotteryError:  # different prunable sets
        return None
    return Overlap(a, b, found, chance)
