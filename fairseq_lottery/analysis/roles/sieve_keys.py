"""The keys of each sieve as bool matrices, (query words, key words + 1); the last is ``</s>``."""

from __future__ import annotations

import numpy as np

from fairseq_lottery.analysis.arrays import Array


def local_keys(queries: int, keys: int, window: int = 2) -> Array:
    """Return the words at most ``window`` words away, including the query word itself.

    The published sieve is the same, t - 2 to t + 2; its ``[CLS]`` and ``[SEP]`` count as words,
    ``</s>`` here does not. In decoder self-attention only one side is visible.
    """
    near = np.abs(np.arange(queries)[:, None] - np.arange(keys)[None]) <= window
    return _with_end(near)


def delimiter_keys(queries: int, keys: int) -> Array:
    """Return ``</s>``."""
    return _with_end(np.zeros((queries, keys), dtype=bool), end=True)


def diagonal_keys(queries: int, keys: int, window: float = 0.1) -> Array:
    """Return the words whose relative position is that of the query word, up to ``window``.

    Word i of n is at (i + 1/2) / n. The nearest key always belongs to the sieve.
    """
    own = (np.arange(queries)[:, None] + 0.5) / queries
    distance = np.abs(own - (np.arange(keys)[None] + 0.5) / keys)
    nearest = distance.min(axis=1, keepdims=True)
    return _with_end(distance <= np.maximum(window, nearest) + 1e-12)


def block_keys(own: Array, other: Array) -> Array:
    """Return the words of the sentence with the number of the query word's sentence.

    Args:
        own, other: number of the sentence of each query word and key word; -1 for separators.
            Examples of one sentence have no sieve: all words would belong to it.
    """
    if own.max(initial=-1) < 1 or other.max(initial=-1) < 1:
        return _with_end(np.zeros((len(own), len(other)), dtype=bool))
    return _with_end((own[:, None] == other[None]) & (own[:, None] >= 0))


def linked_keys(queries: int, keys: int, links: Array) -> Array:
    """Return the linked words; ``links`` are pairs of query word and key word, (pairs, 2)."""
    linked = np.zeros((queries, keys), dtype=bool)
    linked[links[:, 0], links[:, 1]] = True
    return _with_end(linked)


def _with_end(words: Array, end: bool = False) -> Array:
    return np.concatenate([words, np.full((len(words), 1), end)], axis=1)
