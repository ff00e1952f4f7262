"""Roles by the largest weight of each word: positional, linked, rare words; and confidence.

Voita et al. 2019 (arXiv 1905.09418), section 4. ``</s>`` is left out everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: share of largest weights at one relative position that makes a head positional
POSITIONAL = 0.9
#: excess over the most frequent relative position that makes a head linked, as syntactic heads
LINKED = 0.1
#: share of largest weights at the rarest word that makes a head a rare-word head, and its least
#: excess over even attention. The paper reports shares of 0.66 and, for the two rarest, 0.5
RARE, RARE_EXCESS = 0.5, 0.1


def largest_keys(maps: Array) -> Array:
    """Return the number of the key word with the largest weight, (heads, queries).

    Args:
        maps: attention of a sentence, (heads, queries, key words + 1). Of equal weights the first
            counts.
    """
    best: Array = np.asarray(maps)[:, :, :-1].argmax(axis=2)
    return best


def confidence(maps: Iterable[Array]) -> Array:
    """Return the mean over all query words of the largest weight of a key word, (heads,).

    Args:
        maps: attention of each sentence, (heads, queries, key words + 1).
    """
    best = [np.asarray(one, dtype=np.float64)[:, :, :-1].max(axis=2) for one in maps]
    means: Array = np.concatenate(best, axis=1).mean(axis=1)
    return means


def positional(best: Sequence[Array], causal: bool = False) -> tuple[Array, Array, Array]:
    """Return the most frequent relative position of each head's largest weights.

    The relative position is the number of the key word minus that of the query word. The first word
    of decoder self-attention is left out: it sees no other word.

    Args:
        best: ``largest_keys`` of each sentence of a self-attention, (heads, words).
        causal: whether it is decoder self-attention.

    Returns:
        Relative position; share of largest weights at it; and the share of query words that have a
        word there, which is the largest possible share. Each is (heads,).
    """
    first = 1 if causal else 0
    lengths = np.array([one.shape[1] for one in best], dtype=np.int64)
    offsets = np.concatenate([one[:, first:] - np.arange(first, one.shape[1]) for one in best], 1)
    total, widest = offsets.shape[1], int(lengths.max(initial=1))
    positions = np.arange(1 - widest, widest)
    if not total:
        nothing = np.zeros(len(offsets))
        return nothing.astype(np.int64), nothing, nothing
    counts = np.stack([(offsets == one).sum(axis=1) for one in positions], axis=1)
    chosen = counts.argmax(axis=1)
    places = np.concatenate([np.arange(first, length) for length in lengths])
    ends = np.repeat(lengths, np.maximum(lengths - first, 0))
    possible = [np.mean((places + one >= 0) & (places + one < ends)) for one in positions[chosen]]
    return positions[chosen], counts.max(axis=1) / total, np.array(possible)


def linked_accuracy(best: Sequence[Array], links: Sequence[Array]) -> tuple[Array, float, int]:
    """Return how often the largest weight is at a linked word.

    Args:
        best: ``largest_keys`` of each sentence, (heads, queries).
        links: which keys are linked to each query word, bool (queries, key words). Words without a
            link are left out.

    Returns:
        Share of each head, (heads,); the baseline, which is the share of the relative position that
        is most often linked; and the number of query words with a link.
    """
    hits, words = np.zeros(len(best[0]) if best else 0), 0
    at_offset: dict[int, int] = {}
    for keys, linked in zip(best, links):
        has_link = linked.any(axis=1)
        words += int(has_link.sum())
        hits = hits + linked[np.arange(len(linked)), keys][:, has_link].sum(axis=1)
        queries, targets = np.nonzero(linked)
        for offset in (targets - queries).tolist():
            at_offset[offset] = at_offset.get(offset, 0) + 1
    most = max(at_offset.values(), default=0)
    return hits / max(words, 1), most / max(words, 1), words


def word_frequencies(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return how often each word occurs."""
    counts: dict[str, int] = {}
    for words in sentences:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return counts


def rare_words(
    best: Sequence[Array],
    words: Sequence[Sequence[str]],
    frequencies: Mapping[str, int],
    causal: bool = False,
    rank: int = 1,
) -> tuple[Array, float]:
    """Return how often the largest weight is at the least frequent word of the sentence.

    Args:
        best: ``largest_keys`` of each sentence, (heads, queries).
        words: key words of each sentence.
        frequencies: word -> how often it occurs; a missing word does not occur.
        causal: whether the words after the query word are not visible.
        rank: 1 for the least frequent word, 2 for one of the two least frequent. Words that are as
            frequent as the last of them count, too.

    Returns:
        Share of each head, (heads,), and the share of even attention. The first word of decoder
        self-attention is left out.
    """
    hits: Optional[Array] = None
    chance, total = 0.0, 0
    for keys, sentence in zip(best, words):
        counts = np.array([frequencies.get(word, 0) for word in sentence], dtype=np.int64)
        for query in range(1 if causal else 0, keys.shape[1]):
            visible = counts[: query + 1] if causal else counts
            limit = np.sort(visible)[min(rank, len(visible)) - 1]
            is_rare = counts <= limit
            found = is_rare[keys[:, query]].astype(np.int64)
            hits = found if hits is None else hits + found
            chance += float((visible <= limit).mean())
            total += 1
    if hits is None:
        return np.zeros(len(best[0]) if best else 0), 0.0
    return hits / total, chance / total
