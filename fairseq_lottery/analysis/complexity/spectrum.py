"""Complexity of activations and weights: explained variance, effective rank, directions."""

from __future__ import annotations

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.similarity.moments import RESOLUTION, Moments


def explained_variance(variances: Array) -> Array:
    """Return the share of the variance that the first k directions hold, for k = 1, 2, ...

    Args:
        variances: variance of each principal direction, falling: squared singular values, whose
            scale does not matter.
    """
    total = float(np.sum(variances))
    if not total:
        return np.zeros(0)
    shares: Array = np.minimum(np.cumsum(variances) / total, 1.0)
    return shares


def effective_rank(singular_values: Array) -> float:
    """Return exp of the entropy of the singular values' shares: Roy & Vetterli 2007, section 2.

    It is k for k equal singular values, and 0 for a zero matrix. Other authors use squared singular
    values, or the sum of variances over the largest one, under the same name.
    """
    values = np.asarray(singular_values, dtype=np.float64)
    values = values[values > 0]
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def variances_of(moments: Moments, centred: bool = True) -> Array:
    """Return the variances of the principal directions of a layer, falling, times its words.

    Args:
        moments: moments of the layer.
        centred: subtract the mean of each neuron before; otherwise the mean is a direction too.
    """
    products = moments.scatter
    if not centred:
        products = products + moments.words * np.outer(moments.mean, moments.mean)
    values = np.linalg.eigvalsh(products)[::-1]
    kept: Array = values[values > RESOLUTION * max(values[0], 0.0)]
    return kept


def singular_values(matrix: Array) -> Array:
    """Return the singular values of a matrix, falling, without those of rounding errors."""
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    if matrix.shape[0] > 2 * matrix.shape[1]:
        # much fewer operations, and as exact
        matrix = np.asarray(np.linalg.qr(matrix, mode="r"))
    values = np.linalg.svd(matrix, compute_uv=False)
    kept: Array = values[values > RESOLUTION * values[0]]
    return kept
