"""``Moments`` of a layer and ``LayerPair`` of two: the sums that all similarities follow from.

They are exact sums in double precision, which are taken block by block, so memory does not depend
on the number of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.recording.recording import blocks
from fairseq_lottery.errors import LotteryError

#: words of a block
_ROWS = 2048
#: a neuron whose deviation is below this share of its mean is constant up to single precision
_CONSTANT = 1e-6
#: directions below this share of the largest variance are rounding errors of single precision
RESOLUTION = 1e-12


@dataclass(frozen=True)
class Moments:
    """Sums over the activations of a layer.

    Attributes:
        words: number of words.
        mean: mean of each neuron, (neurons,).
        scatter: sums of products of the centred activations, (neurons, neurons).
        norms: squared norm of each word's centred activations, (words,).
    """

    words: int
    mean: Array
    scatter: Array
    norms: Array

    @classmethod
    def of(cls, activations: Array, name: str = "activations") -> Moments:
        """Return the moments of activations, (words, neurons), in two passes.

        Args:
            activations: one row for each word, such as ``Recording.activations``.
            name: their name in errors.

        Raises:
            LotteryError: there are fewer than two words, or a value is NaN or infinite.
        """
        if activations.ndim != 2 or len(activations) < 2:
            raise LotteryError(f"{name} have shape {activations.shape}, expected (2 or more, n)")
        # differences from the first word are exactly zero for a constant neuron
        first = np.asarray(activations[0], dtype=np.float64)
        sums = sum((block - first).sum(axis=0) for block in blocks(activations, _ROWS))
        mean = first + sums / len(activations)
        if not np.isfinite(mean).all():
            raise LotteryError(f"{name} have NaN or infinity; record a model that has trained")
        scatter = np.zeros((len(mean), len(mean)))
        norms = []
        for block in blocks(activations, _ROWS):
            centred = block - mean
            scatter += centred.T @ centred
            norms.append(np.einsum("wn,wn->w", centred, centred))
        return cls(len(activations), mean, scatter, np.concatenate(norms))

    @cached_property
    def deviations(self) -> Array:
        """Return the norm of each centred neuron over all words; 0 if it is constant."""
        norms = np.sqrt(np.diagonal(self.scatter))
        constant = norms <= _CONSTANT * np.sqrt(self.words) * np.abs(self.mean)
        return np.where(constant, 0.0, norms)

    @property
    def varies(self) -> Array:
        """Return for each neuron whether it is not constant."""
        return self.deviations > 0

    @property
    def scales(self) -> Array:
        """Return the factor that makes each neuron's norm 1; 0 if it is constant."""
        scales = np.zeros_like(self.deviations)
        scales[self.varies] = 1 / self.deviations[self.varies]
        return scales

    @cached_property
    def principal(self) -> tuple[Array, Array]:
        """Return the eigenvalues of the neurons' correlations, falling, and the eigenvectors."""
        return principal(self.scatter * self.scales[:, None] * self.scales)


def principal(scatter: Array) -> tuple[Array, Array]:
    """Return the eigenvalues of a symmetric matrix, falling, and its eigenvectors as columns.

    Eigenvalues below ``RESOLUTION`` of the largest are left out.
    """
    values, vectors = np.linalg.eigh(scatter)
    kept = values > RESOLUTION * max(values[-1], 0.0)
    return values[kept][::-1], vectors[:, kept][:, ::-1]


@dataclass(frozen=True)
class LayerPair:
    """Moments of two layers on the same words.

    Attributes:
        first, second: moments of each layer.
        cross: sums of products of the centred activations, (neurons, other neurons).
    """

    first: Moments
    second: Moments
    cross: Array

    @classmethod
    def of(cls, first: Array, second: Array) -> LayerPair:
        """Return the moments of two arrays of activations, (words, neurons).

        Raises:
            LotteryError: they have different numbers of words, or a value is NaN or infinite.
        """
        if len(first) != len(second):
            raise LotteryError(
                f"the layers have {len(first)} and {len(second)} words; give the same words"
            )
        moments = Moments.of(first), Moments.of(second)
        return cls(*moments, cross_products([first], [second], [moments[0]], [moments[1]]))

    @property
    def words(self) -> int:
        """Return the number of words."""
        return self.first.words

    @property
    def varies(self) -> bool:
        """Return whether each layer has a neuron that is not constant."""
        return bool(self.first.varies.any() and self.second.varies.any())

    @property
    def correlations(self) -> Array:
        """Return Pearson's r of all pairs of neurons; 0 for constant neurons."""
        return self.cross * self.first.scales[:, None] * self.second.scales


def cross_products(
    firsts: Sequence[Array],
    seconds: Sequence[Array],
    first_moments: Sequence[Moments],
    second_moments: Sequence[Moments],
) -> Array:
    """Return the sums of products between all layers of two models, in one pass.

    Args:
        firsts, seconds: activations of each layer on the same words, (words, neurons).
        first_moments, second_moments: their moments.

    Returns:
        (neurons of all first layers, neurons of all second layers)
    """
    means = [np.concatenate([one.mean for one in ms]) for ms in (first_moments, second_moments)]
    cross = np.zeros((len(means[0]), len(means[1])))
    for start in range(0, len(firsts[0]), _ROWS):
        rows = slice(start, start + _ROWS)
        a, b = (
            np.concatenate([one[rows] for one in layers], axis=1, dtype=np.float64) - mean
            for layers, mean in zip((firsts, seconds), means)
        )
        cross += a.T @ b
    return cross
