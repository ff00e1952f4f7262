"""Permutation tests: exact for few languages, by random permutations for more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.masks.streams import raw_bits

#: up to this number of permutations all are used, else ``SAMPLES`` random ones; it is 8!
MOST_EXACT, SAMPLES = 40320, 9999
#: permutations whose statistics are computed at once
_BLOCK = 512
#: statistics that differ by less are equal
_TIE = 1e-10


@dataclass(frozen=True)
class Permuted:
    """Result of a permutation test.

    Attributes:
        value: the statistic of the data.
        p: share of the permutations whose statistic is at least as extreme, the data included.
        smallest: the smallest p that a permutation can have: that of the most extreme one.
        count: number of permutations, the data included.
    """

    value: float
    p: float
    smallest: float
    count: int


@lru_cache(maxsize=8)
def orders(strata: tuple[int, ...], seed: int) -> Array:
    """Return permutations within strata, a row each: the identity first, then all others.

    If there are more than ``MOST_EXACT``, ``SAMPLES`` random ones follow the identity.

    Args:
        strata: number of the stratum of each thing; all 0 to permute all of them.
    """
    size, labels = len(strata), np.array(strata)
    groups = [np.flatnonzero(labels == one) for one in dict.fromkeys(strata)]
    if math.prod(math.factorial(len(own)) for own in groups) <= MOST_EXACT:
        choices = itertools.product(*(itertools.permutations(own.tolist()) for own in groups))
        rows = np.array([list(itertools.chain(*one)) for one in choices], dtype=np.intp)
    else:
        bits = raw_bits(f"permuted-languages|{seed}|{size}", SAMPLES * size).reshape(SAMPLES, size)
        drawn = [own[np.argsort(bits[:, own], axis=1, kind="stable")] for own in groups]
        rows = np.concatenate([np.concatenate(groups)[None], np.concatenate(drawn, axis=1)])
    permuted = np.empty_like(rows)
    permuted[:, np.concatenate(groups)] = rows
    return permuted


def permutation_test(
    statistic: Callable[[Array], Array],
    strata: Sequence[int],
    seed: int,
    two_sided: bool = False,
) -> Permuted:
    """Return how extreme the statistic of the data is among permutations; large is extreme.

    Args:
        statistic: takes permutations, one in each row, and returns a number for each.
        strata: see ``orders``.
        two_sided: whether values far below 0 are extreme as well.
    """
    rows = orders(tuple(strata), seed)
    blocks = [rows[first : first + _BLOCK] for first in range(0, len(rows), _BLOCK)]
    values = np.concatenate([statistic(block) for block in blocks])
    value = float(values[0])
    if not math.isfinite(value):
        return Permuted(math.nan, math.nan, math.nan, len(rows))
    compared = np.abs(values) if two_sided else values
    extreme = int((compared >= compared[0] - _TIE).sum())
    most = int((compared >= compared.max() - _TIE).sum())
    return Permuted(value, extreme / len(rows), most / len(rows), len(rows))


def correlation(first: Array, second: Array) -> Array:
    """Return Pearson's correlation along the last axis; NaN where values are all equal."""
    first = first - first.mean(axis=-1, keepdims=True)
    second = second - second.mean(axis=-1, keepdims=True)
    size = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 1e-12, (first * second).sum(axis=-1) / size, np.nan)


def ranks(values: Array) -> Array:
    """Return the ranks of values; equal ones, up to rounding, share their mean rank."""
    from scipy.stats import rankdata

    rounded = np.asarray(values, dtype=np.float64)
    scale = float(np.abs(rounded).max(initial=0.0)) or 1.0
    return np.asarray(rankdata(np.round(rounded / scale, 12)), dtype=np.float64)


def correlation_test(first: Array, second: Array, seed: int = 1) -> Permuted:
    """Return Spearman's rho of paired values, and a two-sided test that permutes the first."""
    a, b = ranks(first), ranks(second)
    strata = [0] * len(a)
    return permutation_test(lambda rows: correlation(a[rows], b), strata, seed, two_sided=True)


def kruskal_test(values: Array, words: Sequence[str], seed: int = 1) -> Permuted:
    """Return Kruskal and Wallis' H of values in groups, and a test that permutes the values."""
    ranked = ranks(values)
    groups = [np.array([one == word for one in words]) for word in dict.fromkeys(words)]
    size, mean = len(ranked), ranked.mean()
    spread = float(((ranked - mean) ** 2).sum())

    def statistic(rows: Array) -> Array:
        sums = [((ranked[rows][:, own].mean(axis=1) - mean) ** 2) * own.sum() for own in groups]
        total: Array = np.sum(sums, axis=0)
        return (size - 1) * total / spread if spread and len(groups) > 1 else total * np.nan

    return permutation_test(statistic, [0] * size, seed)


def holm(values: list[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979)."""
    corrected, largest = [math.nan] * len(values), 0.0
    order = sorted((n for n, p in enumerate(values) if not math.isnan(p)), key=values.__getitem__)
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, values[number] * (len(order) - place)))
        corrected[number] = largest
    return corrected
