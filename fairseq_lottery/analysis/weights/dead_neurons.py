"""Rows and columns of matrices that have no survivor, and how many there are by chance.

A row holds the weights of an output, a column those of an input. A dead output still has its bias.
"""

from __future__ import annotations

import numpy as np

from fairseq_lottery.analysis.arrays import Array


def count_dead(keep: Array, axis: int) -> int:
    """Return the number of rows (axis 0) or columns (axis 1) without a survivor.

    Args:
        keep: (rows, columns), True where a weight is kept.
    """
    return int(np.count_nonzero(~keep.any(axis=1 - axis)))


def expected_dead(shape: tuple[int, int], kept: int, axis: int) -> float:
    """Return the mean number of dead rows or columns if ``kept`` weights are kept at random.

    A row of length n is dead with the chance that none of the kept weights is one of its n, which
    is hypergeometric.
    """
    from scipy.stats import hypergeom

    length = shape[1 - axis]
    return float(shape[axis] * hypergeom.pmf(0, shape[0] * shape[1], length, kept))
