"""Tests of roles: whether the mean of sentence scores exceeds a threshold.

Pande et al. 2021 test each head with a one-sided one-sample t-test over sentences. Their public
code divides by the population deviation (``numpy.std``) over sqrt(n), so its t is larger than
Student's by sqrt(n / (n - 1)), and it does not correct for the number of tests. Here the roles come
from Student's test with the sample deviation, corrected by Benjamini and Hochberg; the published
p-value is beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array

#: thresholds of the paper
THRESHOLDS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
#: threshold at which the paper's code labels heads
PUBLISHED_THRESHOLD = 3.0
#: relative deviation below which scores count as equal: rounding of float64
_NOISE = 1e-10


@dataclass(frozen=True)
class RoleTest:
    """Tests of several heads against several thresholds; each array is (thresholds, heads).

    Attributes:
        t: Student's t. Infinite, or NaN at the threshold, if all scores of a head are equal.
        p: p-value of the one-sided test, the mean being larger than the threshold.
        p_published: p-value of the published form.
        d: Cohen's d, (mean - threshold) / sample deviation; as ``t`` for equal scores.
    """

    t: Array
    p: Array
    p_published: Array
    d: Array


def threshold_tests(scores: Array, thresholds: Sequence[float] = THRESHOLDS) -> RoleTest:
    """Test whether the mean score of each head exceeds each threshold.

    Args:
        scores: sentence scores, (sentences, heads), of at least two sentences.
        thresholds: values of the null hypothesis.
    """
    from scipy import stats

    count = len(scores)
    if count < 2:
        raise ValueError(f"a test needs at least two sentences, not {count}")
    mean, deviation = scores.mean(axis=0), scores.std(axis=0, ddof=1)
    scale = _NOISE * np.maximum(1.0, np.abs(mean))
    deviation = np.where(deviation > scale, deviation, 0.0)
    excess = mean - np.asarray(thresholds, dtype=np.float64)[:, None]
    excess = np.where(np.abs(excess) > scale, excess, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        d = excess / deviation
    t = d * np.sqrt(count)
    published = d * np.sqrt(count / (count - 1)) * np.sqrt(count)
    return RoleTest(t, _p_value(stats, t, count), _p_value(stats, published, count), d)


def _p_value(stats: Any, t: Array, count: int) -> Array:
    """Return the probability of a larger t; 1 where all scores equal the threshold."""
    p: Array = np.where(np.isnan(t), 1.0, stats.t.sf(np.nan_to_num(t), count - 1))
    return p


def corrected(p_values: Array) -> Array:
    """Return p-values adjusted by Benjamini and Hochberg (1995), of the same shape.

    The family is the whole array: all heads and roles at one threshold. Rejecting adjusted values
    below 0.05 keeps the expected share of false roles among the roles below 5 %.
    """
    from scipy.stats import false_discovery_control

    flat = np.asarray(p_values, dtype=np.float64).ravel()
    adjusted: Array = false_discovery_control(flat, method="bh") if flat.size else flat
    return adjusted.reshape(np.shape(p_values))
