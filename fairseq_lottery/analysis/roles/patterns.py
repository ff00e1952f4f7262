"""Patterns of attention maps: vertical, diagonal, both, block or heterogeneous.

The classes are those of Kovaleva et al. 2019, which Prasanna et al. 2020 (section 5) assign with a
convolutional network that they trained on annotated maps of BERT. Here a rule assigns them, from
three masses of the attention, so that anybody can recompute a class by hand.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array

PATTERNS = ("vertical", "diagonal", "vertical+diagonal", "block", "heterogeneous")
#: mass from which a pattern prevails, and that of each part of a mixture
PREVAILS, PART = 0.5, 0.2


def pattern_masses(
    maps: Array, visible: Array, band: Array, block: Optional[Array] = None
) -> Array:
    """Return the vertical, diagonal and block mass of every head in a sentence, (3, heads).

    Rows are divided by their sums first. With m the share of attention on a set of cells and u that
    of even attention, a mass is (m - u) / (1 - u): 1 if all attention is there, 0 if no more than
    by even attention. It is 0 where even attention is there only.

    The sets of cells: vertical is the column with the most attention of the head, diagonal is the
    band, and block is the words of the query's own sentence. Cells of both column and band count
    for that of the two whose mass is larger with them.

    Args:
        maps: attention of a sentence, (heads, queries, keys + 1).
        visible: which keys each query sees, (queries, keys + 1).
        band: cells of the diagonal, (queries, keys + 1).
        block: cells of the blocks, (queries, keys + 1); None if there are no blocks.
    """
    weights = np.where(visible, np.asarray(maps, dtype=np.float64), 0.0)
    totals = weights.sum(axis=2, keepdims=True)
    weights = weights / np.where(totals > 0, totals, 1.0)
    even = visible / visible.sum(axis=1, keepdims=True)
    rows = visible.shape[0]
    heads = np.arange(len(weights))
    column = np.zeros((len(weights), 1, visible.shape[1]), dtype=bool)
    column[heads, 0, weights.sum(axis=1).argmax(axis=1)] = True

    def mass(cells: Array) -> Array:
        """Return the mass of cells, (heads or 1, queries or 1, keys)."""
        return _excess(
            (weights * cells).sum(axis=(1, 2)) / rows, (even * cells).sum(axis=(1, 2)) / rows
        )

    is_vertical = (mass(column) >= mass(band[None]))[:, None, None]
    vertical = mass(column & (is_vertical | ~band))
    diagonal = mass(band & ~(is_vertical & column))
    inside = np.zeros(len(weights)) if block is None else mass(block[None])
    return np.stack([vertical, diagonal, inside])


def _excess(mass: Array, even: Array) -> Array:
    room = 1 - np.asarray(even)
    return np.where(room > 1e-12, np.maximum(mass - even, 0.0) / np.where(room > 0, room, 1), 0.0)


def pattern_of(vertical: float, diagonal: float, block: float = 0.0) -> str:
    """Return the pattern of a head with these mean masses.

    ``vertical+diagonal`` if each is at least 0.2 and their sum at least 0.5; otherwise the larger
    of both if it is at least 0.5; otherwise ``block`` if that mass is at least 0.5; otherwise
    ``heterogeneous``.
    """
    if min(vertical, diagonal) >= PART and vertical + diagonal >= PREVAILS:
        return "vertical+diagonal"
    if max(vertical, diagonal) >= PREVAILS:
        return "vertical" if vertical >= diagonal else "diagonal"
    return "block" if block >= PREVAILS else "heterogeneous"
