"""Roles by the largest weight of each word: positional, linked, rare words; and confidence.

Voita et al. 2019 (arXiv 1905.09418), section 4. ``</s>`` is left out everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fairseq_lottery.analysis.arrays import Array

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

    The relative position is the number of the key word minus that of the query word. Words that see
    no other word are left out: the first of decoder self-attention, and single words.

    Args:
        best: ``largest_keys`` of each sentence of a self-attention, (heads, words).
        causal: whether it is decoder self-attention.

    Returns:
        Relative position; share of largest weights at it; and the share of query words that have a
        word there, which is the largest possible share. Each is (heads,).
    """
    lengths = [one.shape[1] for one in best]
    places = [np.arange(1 if causal or length == 1 else 0, length) for length in lengths]
    offsets = np.concatenate([one[:, own] - own for one, own in zip(best, places)], axis=1)
    total, widest = offsets.shape[1], max(lengths)
    positions = np.arange(1 - widest, widest)
    if not total:
        nothing = np.zeros(len(offsets))
        return nothing.astype(np.int64), nothing, nothing
    counts = np.stack([(offsets == one).sum(axis=1) for one in positions], axis=1)
    chosen = counts.argmax(axis=1)
    starts, ends = np.concatenate(places), np.repeat(lengths, [len(own) for own in places])
    possible = [np.mean((starts + one >= 0) & (starts + one < ends)) for one in positions[chosen]]
    return positions[chosen], counts.max(axis=1) / total, np.array(possible)


def linked_share(best: Sequence[Array], links: Sequence[Array]) -> Array:
    """Return how often the largest weight of each head is at a linked word, (heads,).

    Args:
        best: ``largest_keys`` of each sentence, (heads, queries).
        links: which keys are linked to each query word, bool (queries, key words). Words without a
            link are left out.
    """
    hits = np.zeros(len(best[0]) if best else 0)
    for keys, linked in zip(best, links):
        hits = hits + linked[np.arange(len(linked)), keys].sum(axis=1)
    return hits / max(linked_words(links), 1)


def linked_words(links: Iterable[Array]) -> int:
    """Return the number of query words that have a link."""
    return sum(int(linked.any(axis=1).sum()) for linked in links)


def position_baseline(links: Sequence[Array]) -> float:
    """Return the share of words with a link at the relative position that is most often linked.

    It is the ``linked_share`` of a head that always attends to that position.
    """
    offsets = [np.diff(np.nonzero(linked), axis=0)[0] for linked in links]
    _, counts = np.unique(np.concatenate(offsets), return_counts=True)
    return int(counts.max(initial=0)) / max(linked_words(links), 1)


def word_frequencies(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return how often each word occurs."""
    counts: dict[str, int] = {}
    for words in sentences:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    return counts


def rare_keys(
    words: Sequence[Sequence[str]],
    queries: Sequence[int],
    frequencies: Mapping[str, int],
    causal: bool = False,
    rank: int = 1,
) -> list[Array]:
    """Return which key word is the least frequent one, bool (queries, key words) a sentence.

    ``linked_share`` of them is how often a head's largest weight is at the least frequent word.

    Args:
        words: key words of each sentence.
        queries: number of query words of each sentence.
        frequencies: word -> how often it occurs; a missing word does not occur.
        causal: whether the words after the query word are not visible. A query word that sees one
            key word only has no key.
        rank: 1 for the least frequent word, 2 for one of the two least frequent. Words that are as
            frequent as the last of them are keys, too.
    """
    keys = []
    for sentence, rows in zip(words, queries):
        counts = np.array([frequencies.get(word, 0) for word in sentence], dtype=np.int64)
        if not causal:
            limit = np.sort(counts)[min(rank, len(counts)) - 1]
            is_rare = (counts <= limit) & (len(counts) > 1)
            keys.append(np.repeat(is_rare[None], rows, axis=0))
            continue
        visible = np.tri(rows, len(counts), dtype=bool)
        ordered = np.sort(np.where(visible, counts, np.iinfo(np.int64).max), axis=1)
        column = np.minimum(np.arange(1, rows + 1), min(rank, len(counts))) - 1
        rare = visible & (counts <= ordered[np.arange(rows), column][:, None])
        rare[:1] = False
        keys.append(rare)
    return keys


def even_share(keys: Sequence[Array], causal: bool = False) -> float:
    """Return the share of even attention on keys, a mean over query words that have one."""
    shares = [np.zeros(0)]
    for one in keys:
        rows, columns = one.shape
        visible = np.arange(1, rows + 1) if causal else np.full(rows, columns)
        shares.append((one.sum(axis=1) / visible)[one.any(axis=1)])
    every = np.concatenate(shares)
    return float(every.mean()) if len(every) else 0.0
