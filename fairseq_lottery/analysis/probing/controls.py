"""Control labels (Hewitt & Liang 2019), and baselines that see no activations."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from fairseq_lottery.analysis.arrays import Array
from fairseq_lottery.masks.streams import raw_bits


def control_labels(types: Array, labels: Array, key: str) -> dict[str, object]:
    """Return a random label for each word type, drawn from the distribution of the labels.

    A probe can only learn them by the identity of words (Hewitt & Liang 2019, section 2.1). For
    pairs they are a function of the first word, as in their control of dependencies. The label of
    a type depends on the key and the type, not on other types.

    Args:
        types: word types, (n,), in any order.
        labels: labels of the task, (n,), text or float64; their distribution is kept.
        key: name of the random stream, without the type.
    """
    ordered = sorted(labels.tolist())
    return {
        name: ordered[int(raw_bits(f"{key}|{name}", 1)[0]) % len(ordered)]
        for name in sorted(set(types.tolist()))
    }


def majority(labels: Array) -> str:
    """Return the most frequent label; of several the first in alphabetical order."""
    counts = Counter(labels.tolist())
    return min(counts, key=lambda label: (-counts[label], label))


def word_majority(types: Array, labels: Array, asked: Array) -> Array:
    """Return for each asked word its most frequent label, or the majority for unseen words.

    Args:
        types: word type of each example of the training part, (n,).
        labels: label of each example of the training part, (n,).
        asked: word types to predict, (m,).
    """
    by_type = defaultdict(list)
    for name, label in zip(types.tolist(), labels.tolist()):
        by_type[name].append(label)
    known = {name: majority(np.array(own, dtype=object)) for name, own in by_type.items()}
    default = majority(labels)
    return np.array([known.get(name, default) for name in asked.tolist()], dtype=object)
