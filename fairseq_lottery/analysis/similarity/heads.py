"""HeadSim: how well the attention of single heads is found in other heads.

Attention weights are given sentence by sentence, as arrays of shape (heads, queries, keys + 1);
the last key is ``</s>``, as in a ``Recording``. The heads of all layers can be stacked, so that one
pass compares all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.errors import LotteryError

#: a row whose deviation is below this share of its norm is uniform up to single precision
_UNIFORM = 1e-5

#: fewest visible keys of a row that has a correlation
_FEWEST_KEYS = 3

#: pairs of arrays of the same sentence
Sentences = Iterable[tuple[Array, Array]]


def visible_keys(queries: int, keys: int, causal: bool) -> Array:
    """Return which keys each query can attend to, (queries, keys + 1).

    Args:
        queries, keys: number of words, without ``</s>``.
        causal: whether a query attends only to ``</s>``, which is the decoder's first input, to
            earlier words and to itself.
    """
    visible = np.ones((queries, keys + 1), dtype=bool)
    if causal:
        visible[:, :keys] = np.tri(queries, keys, dtype=bool)
    return visible


def row_correlations(sentences: Sentences, causal: bool = False) -> Array:
    """Return the mean over rows of Pearson's r between two heads' distributions.

    This is the similarity in "headsim" of Wu et al. 2020, section 3.2, and of Movva & Zhao 2020,
    with ``</s>`` as a key of its own. Keys that a query cannot attend to are ignored. So are rows
    in which one of the two heads is uniform, where r is not defined, and rows with fewer than three
    visible keys: with two, r is 1 or -1 whatever the heads do.

    Args:
        sentences: pairs of arrays, (heads, queries, keys + 1) and (other heads, queries, keys + 1).
        causal: whether it is decoder self-attention.

    Returns:
        (heads, other heads); NaN for two heads without a common row.
    """
    sums: Any = 0.0
    counts: Any = 0.0
    for first, second, visible in _visible(sentences, causal):
        a, a_counts = _standardised(first, visible)
        b, b_counts = _standardised(second, visible)
        sums = sums + a.reshape(len(a), -1) @ b.reshape(len(b), -1).T
        counts = counts + a_counts.astype(np.float64) @ b_counts.T
    with np.errstate(invalid="ignore"):
        means: Array = np.clip(sums / counts, -1.0, 1.0)
    return means


def _standardised(rows: Array, visible: Array) -> tuple[Array, Array]:
    """Return rows with mean 0 and norm 1 over the visible keys, and which rows count.

    Rows that are uniform or have too few keys do not count, and are 0.
    """
    keys = visible.sum(axis=1)
    means = rows.sum(axis=2, keepdims=True) / keys[:, None]
    centred = np.where(visible, rows - means, 0.0)
    norms = np.linalg.norm(centred, axis=2)
    counts = (norms > _UNIFORM * np.linalg.norm(rows, axis=2)) & (keys >= _FEWEST_KEYS)
    scales = np.divide(1.0, norms, out=np.zeros_like(norms), where=counts)
    return centred * scales[:, :, None], counts


def row_divergences(sentences: Sentences, causal: bool = False) -> Array:
    """Return 1 minus the mean Jensen-Shannon divergence of two heads' distributions, in bits.

    Args:
        sentences: as for ``row_correlations``; rows are scaled to the sum 1.
        causal: whether it is decoder self-attention.

    Returns:
        (heads, other heads), from 0 (disjoint) to 1 (equal).

    Raises:
        LotteryError: a row has no attention.
    """
    from scipy.special import entr

    total: Any = 0.0
    rows = 0
    for first, second, visible in _visible(sentences, causal):
        totals = [one.sum(axis=2, keepdims=True) for one in (first, second)]
        if min(one.min() for one in totals) <= 0:
            raise LotteryError("a row of attention weights sums to 0; record the model again")
        a, b = (
            np.ascontiguousarray((one / whole)[:, visible])
            for one, whole in zip((first, second), totals)
        )
        own = entr(a).sum(axis=1)[:, None] + entr(b).sum(axis=1)
        mixed = np.stack([entr((head + b) / 2).sum(axis=1) for head in a])
        total = total + mixed - own / 2
        rows += first.shape[1]
    similarities: Array = np.clip(1 - total / (rows * math.log(2)), 0.0, 1.0)
    return similarities


def map_products(sentences: Sentences, causal: bool = False) -> tuple[Array, Array, Array]:
    """Return the centred sums of products of heads over all weights that can be above 0.

    Linear CKA of them compares the attention maps of two layers, as ``LinCKA`` of Wu et al. 2020;
    see ``alignment.alignment``.

    Args:
        sentences: as for ``row_correlations``.
        causal: whether it is decoder self-attention.

    Returns:
        sums between the heads of both, (heads, other heads), and among the heads of each
    """
    count = 0
    sums: list[Any] = [0.0, 0.0]
    products: list[Any] = [0.0, 0.0, 0.0]
    for first, second, visible in _visible(sentences, causal):
        a, b = first[:, visible], second[:, visible]
        count += a.shape[1]
        sums = [total + one.sum(axis=1) for total, one in zip(sums, (a, b))]
        pairs = ((a, b), (a, a), (b, b))
        products = [total + one @ two.T for total, (one, two) in zip(products, pairs)]
    a_sum, b_sum = sums
    outer = (np.outer(a_sum, b_sum), np.outer(a_sum, a_sum), np.outer(b_sum, b_sum))
    cross, own, other = (total - one / count for total, one in zip(products, outer))
    return cross, own, other


def best_heads(
    similarities: Array, firsts: Sequence[int], seconds: Sequence[int]
) -> list[tuple[int, int, float]]:
    """Return the best match of each head: its number, that of the match, and the similarity.

    Args:
        similarities: (heads, other heads), NaN where they cannot be compared.
        firsts, seconds: numbers from 0 of the heads that are compared, such as those that are not
            pruned.
    """
    matches = []
    for head in firsts:
        known = [other for other in seconds if np.isfinite(similarities[head, other])]
        if known:
            best = max(known, key=lambda other: similarities[head, other])
            matches.append((head, best, float(similarities[head, best])))
    return matches


def _visible(sentences: Sentences, causal: bool) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the arrays of each sentence in double precision, and which keys are visible."""
    none = True
    for first, second in sentences:
        if first.shape[1:] != second.shape[1:]:
            raise LotteryError(
                f"attention weights of one sentence have shapes {first.shape} and {second.shape};"
                " compare recordings of the same words"
            )
        none = False
        visible = visible_keys(first.shape[1], first.shape[2] - 1, causal)
        a, b = (np.where(visible, one, 0.0).astype(np.float64) for one in (first, second))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise LotteryError("attention weights have NaN or infinity; record the model again")
        yield a, b, visible
    if none:
        raise LotteryError("there are no sentences to compare")
