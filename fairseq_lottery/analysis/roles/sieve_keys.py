"""The keys of each sieve as bool matrices, (query tokens, keys).

Keys are the tokens of a recording and, as its last ``ends`` keys, ``</s>`` of a model with a
decoder. The tokens of an encoder without a decoder include ``<s>`` and ``</s>``.
"""

from __future__ import annotations

import numpy as np

from fairseq_lottery.analysis.arrays import Array


def local_keys(queries: int, keys: int, window: int = 2, ends: int = 1) -> Array:
    """Return the tokens at most ``window`` tokens away, including the query itself.

    The published sieve is the same, t - 2 to t + 2; its ``[CLS]`` and ``[SEP]`` count as tokens, as
    ``<s>`` and ``</s>`` of an encoder do. ``</s>`` after the tokens does not count. In decoder
    self-attention only one side is visible.
    """
    near = np.abs(np.arange(queries)[:, None] - np.arange(keys)[None]) <= window
    return _with_ends(near, ends)


def marked_keys(queries: int, marks: Array) -> Array:
    """Return the keys that ``marks`` has, bool (keys,), for every query."""
    return np.repeat(np.asarray(marks, dtype=bool)[None], queries, axis=0)


def diagonal_keys(queries: int, keys: int, window: float = 0.1) -> Array:
    """Return the words whose relative position is that of the query word, up to ``window``.

    Word i of n is at (i + 1/2) / n. The nearest key always belongs to the sieve.
    """
    own = (np.arange(queries)[:, None] + 0.5) / queries
    distance = np.abs(own - (np.arange(keys)[None] + 0.5) / keys)
    nearest = distance.min(axis=1, keepdims=True)
    return _with_ends(distance <= np.maximum(window, nearest) + 1e-12, 1)


def block_keys(own: Array, other: Array, ends: int = 1) -> Array:
    """Return the words of the sentence with the number of the query word's sentence.

    Args:
        own, other: number of the sentence of each query and key; -1 for separators and delimiters.
            Examples of one sentence have no sieve: all words would belong to it.
    """
    if own.max(initial=-1) < 1 or other.max(initial=-1) < 1:
        return _with_ends(np.zeros((len(own), len(other)), dtype=bool), ends)
    return _with_ends((own[:, None] == other[None]) & (own[:, None] >= 0), ends)


def linked_keys(queries: int, keys: int, links: Array, ends: int = 1) -> Array:
    """Return the linked tokens; ``links`` are pairs of query and key, (pairs, 2)."""
    linked = np.zeros((queries, keys), dtype=bool)
    linked[links[:, 0], links[:, 1]] = True
    return _with_ends(linked, ends)


def _with_ends(tokens: Array, ends: int) -> Array:
    return np.concatenate([tokens, np.zeros((len(tokens), ends), dtype=bool)], axis=1)
