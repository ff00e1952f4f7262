"""SVCCA and PWCCA: canonical correlations of the directions that hold most variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.similarity.moments import LayerPair, Moments, principal
from fairseq_lottery.errors import LotteryError

#: share of the variance that the kept directions hold, in the papers
SHARE = 0.99


@dataclass(frozen=True)
class Canonical:
    """Canonical correlations of two layers.

    Attributes:
        correlations: falling; as many as the layer with fewer directions has.
        weights: sum over the first layer's neurons of the absolute inner product of canonical
            variate and neuron, for each correlation.
        directions: number of directions of each layer.
    """

    correlations: Array
    weights: Array
    directions: tuple[int, int]

    @property
    def svcca(self) -> float:
        """Return the mean correlation: Raghu et al. 2017, section 2."""
        return float(self.correlations.mean())

    @property
    def pwcca(self) -> float:
        """Return the mean weighted by how much of the first layer each variate accounts for.

        Morcos et al. 2018, section 3. It is not symmetric.
        """
        return float(self.correlations @ self.weights / self.weights.sum())


def canonical(pair: LayerPair, share: float = SHARE, standardise: bool = True) -> Canonical:
    """Return the canonical correlations of two layers.

    Args:
        pair: moments of the layers.
        share: each layer is reduced to the fewest principal directions that hold this share of its
            variance.
        standardise: scale each neuron to unit variance before, as Wu et al. 2020 and Movva & Zhao
            2020 do. Raghu et al. 2017 only centre.

    Raises:
        LotteryError: every neuron of a layer is constant, or there are so few words that layers
            have correlations of 1 by their size.
    """
    if not pair.varies:
        raise LotteryError("every neuron of a layer is constant; it has no similarity")
    sizes = [int(one.varies.sum()) for one in (pair.first, pair.second)]
    if pair.words <= sum(sizes):
        raise LotteryError(
            f"layers of {sizes[0]} and {sizes[1]} neurons have canonical correlations of 1 by"
            f" chance on {pair.words} words; record more than {sum(sizes)} words"
        )
    # of z = x * scale: whitened directions are z @ vectors / sqrt(values)
    scales, spectra = [], []
    for one in (pair.first, pair.second):
        scales.append(one.scales if standardise else one.varies.astype(np.float64))
        spectra.append(_reduced(one, share, standardise))
    (values, vectors), (other_values, other_vectors) = spectra
    cross = pair.cross * scales[0][:, None] * scales[1]
    whitened = vectors.T @ cross @ other_vectors / np.sqrt(np.outer(values, other_values))
    left, correlations, _ = np.linalg.svd(whitened, full_matrices=False)
    spread = pair.first.deviations if standardise else np.ones(len(vectors))
    products = (left.T * np.sqrt(values)) @ vectors.T * spread
    return Canonical(
        np.minimum(correlations, 1.0),
        np.abs(products).sum(axis=1),
        (len(values), len(other_values)),
    )


def _reduced(moments: Moments, share: float, standardise: bool) -> tuple[Array, Array]:
    values, vectors = moments.principal if standardise else principal(moments.scatter)
    kept = directions_for(values, share)
    return values[:kept], vectors[:, :kept]


def directions_for(variances: Array, share: float = SHARE) -> int:
    """Return the fewest directions that hold a share of the variance.

    Args:
        variances: variance of each principal direction, falling.
        share: share of their sum; 1 keeps all.
    """
    sums = np.cumsum(variances)
    if share >= 1 or not len(sums):
        return len(variances)
    return int(np.searchsorted(sums, share * sums[-1], side="left")) + 1
