"""Linear centred kernel alignment (CKA), plain and debiased."""

from __future__ import annotations

import math

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.analysis.similarity.moments import LayerPair, Moments
from fairseq_lottery.errors import LotteryError


def linear_cka(pair: LayerPair) -> float:
    """Return ||Y'X||^2 / (||X'X|| ||Y'Y||) of centred layers: Kornblith et al. 2019, eq. 5.

    With few words it is above 0 for independent layers; see ``debiased_cka``.

    Raises:
        LotteryError: every neuron of a layer is constant.
    """
    return alignment(pair.cross, pair.first.scatter, pair.second.scatter)


def alignment(cross: Array, first: Array, second: Array) -> float:
    """Return the linear CKA of centred sums of products.

    Args:
        cross: between the columns of two matrices, (p, q).
        first, second: among the columns of each, (p, p) and (q, q).
    """
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not scale:
        raise LotteryError("every neuron of a layer is constant; it has no similarity")
    return min(float(np.square(cross).sum()) / scale, 1.0)


def debiased_cka(pair: LayerPair) -> float:
    """Return linear CKA with the unbiased estimator of HSIC: Song et al. 2012, eq. 5.

    Independent layers have 0 on average, however few the words, so it can be below 0.

    Raises:
        LotteryError: there are fewer than four words, or every neuron of a layer is constant.
    """
    if pair.words < 4:
        raise LotteryError(f"debiased CKA needs 4 words or more, not {pair.words}")
    products = _unbiased(pair.cross, pair.first, pair.second)
    own = [_unbiased(one.scatter, one, one) for one in (pair.first, pair.second)]
    if min(own) <= 0:
        raise LotteryError("every neuron of a layer is constant; it has no similarity")
    return max(-1.0, min(products / math.sqrt(own[0] * own[1]), 1.0))


def _unbiased(cross: Array, first: Moments, second: Moments) -> float:
    """Return n (n - 3) times the unbiased HSIC of two linear kernels.

    The rows of a centred kernel sum to 0, so all sums without its diagonal follow from the diagonal
    and from ||Y'X||^2.
    """
    words = first.words
    both = float(first.norms @ second.norms)
    sums = float(first.norms.sum() * second.norms.sum())
    inner = float(np.square(cross).sum())
    return inner - words / (words - 2) * both + sums / ((words - 1) * (words - 2))
