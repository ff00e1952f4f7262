"""The sieve bias score: how much more attention a set of keys gets than the average key.

Pande et al. 2021 (arXiv 2101.09115), section 3, and its public code. For a query word with n
visible keys and the sieve S, the score is (attention to S / |S|) / (attention to all keys / n). An
even head scores 1, and no head scores more than n / |S|.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from fairseq_lottery.analysis.arrays import Array

#: shares of attention at which the bound of the score times the entropy is evaluated
_SHARES = np.linspace(0, 1, 513)[1:]


def visible_keys(kind: str, queries: int, keys: int, ends: int = 1) -> Array:
    """Return which keys each query word can attend to, bool (queries, keys + ends).

    Keys after the words are seen by all queries: ``</s>`` of a model with a decoder. In decoder
    self-attention a word sees itself and the words before it.

    Args:
        kind: ``enc_self``, ``dec_self`` or ``enc_dec``.
        queries, keys: number of query words and of key words.
        ends: number of keys after the words, as in ``Recording.ends``.
    """
    visible = np.ones((queries, keys + ends), dtype=bool)
    if kind == "dec_self":
        visible[:, :keys] = np.tri(queries, keys, dtype=bool)
    return visible


def word_scores(
    maps: Array, sieve: Array, visible: Optional[Array] = None, entropy: bool = False
) -> Array:
    """Return the score of every head at every query word, (heads, queries).

    NaN marks words without a visible key in the sieve, and rows without attention. Rows need not
    sum to 1: both means are of the same row.

    Args:
        maps: attention weights, (heads, queries, keys).
        sieve: which keys are in the sieve of each query word, bool (queries, keys).
        visible: which keys each query can attend to, bool (queries, keys); by default all. Other
            keys count neither in the sieve nor in the mean.
        entropy: multiply by the entropy of the row in nats, as the published score of block heads
            does. An even head then scores log n.
    """
    weights = np.asarray(maps, dtype=np.float64)
    visible = np.ones(weights.shape[1:], dtype=bool) if visible is None else visible
    weights = np.where(visible, weights, 0.0)
    counted = sieve & visible
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (weights * counted).sum(axis=2) / counted.sum(axis=1)
        scores = inside / (weights.sum(axis=2) / visible.sum(axis=1))
    if entropy:
        scores = scores * row_entropy(weights)
    return np.where(np.isfinite(scores), scores, np.nan)


def sentence_scores(
    maps: Array, sieve: Array, visible: Optional[Array] = None, entropy: bool = False
) -> Array:
    """Return the mean score of every head over the query words that have a sieve, (heads,).

    NaN if no query word has one. See ``word_scores`` for the arguments.
    """
    scores = word_scores(maps, sieve, visible, entropy)
    counted = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        means: Array = np.where(counted, scores, 0.0).sum(axis=1) / counted.sum(axis=1)
    return means


def row_entropy(maps: Array) -> Array:
    """Return the entropy of every row in nats, after dividing it by its sum; 0 for empty rows."""
    weights = np.asarray(maps, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = weights / weights.sum(axis=-1, keepdims=True)
        terms = np.where(shares > 0, shares * np.log(shares), 0.0)
    entropy: Array = -terms.sum(axis=-1)
    return entropy


def reachable_score(sieve: Array, visible: Optional[Array] = None, entropy: bool = False) -> float:
    """Return the largest sentence score that a head can have; NaN if no word has a sieve.

    It is the mean of n / |S| over the query words that have a sieve. A head reaches it if it
    attends to the sieve only. With ``entropy`` it is the mean over words of the maximum over p of
    n / |S| * p * (h(p) + p log |S| + (1 - p) log(n - |S|)), where p is the share of attention on
    the sieve, and h(p) the entropy of (p, 1 - p).
    """
    visible = np.ones(sieve.shape, dtype=bool) if visible is None else visible
    inside = (sieve & visible).sum(axis=1)
    keys = visible.sum(axis=1)[inside > 0].astype(np.float64)
    inside = inside[inside > 0].astype(np.float64)
    if not len(inside):
        return float("nan")
    bounds = keys / inside
    if entropy:
        bounds = bounds * np.array([_largest(n, s) for n, s in zip(keys, inside)])
    return float(bounds.mean())


def _largest(keys: float, inside: float) -> float:
    """Return the largest product of the share on the sieve and the entropy of the row."""
    shares = _SHARES if keys > inside else np.ones(1)
    others = 1 - shares
    with np.errstate(divide="ignore", invalid="ignore"):
        mixing = -shares * np.log(shares) - np.where(others > 0, others * np.log(others), 0.0)
    spread = shares * np.log(inside) + others * np.log(max(keys - inside, 1.0))
    return float((shares * (mixing + spread)).max())
