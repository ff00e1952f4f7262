"""Random numbers of parts, from a seed and names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

#: module and number of a part, from 0
Part = tuple[str, int]


def shuffled(
    parts: Iterable[Part], sizes: Mapping[str, int], purpose: str, seed: int
) -> list[Part]:
    """``parts`` in a random order.

    Every part has a number of its own, which depends on nothing but ``purpose``, the seed, and
    its module's name and size: so an order of some parts is that of all with the others left out.
    Philox's raw stream is fixed by numpy for all versions.

    Args:
        sizes: module -> how many parts it has.
    """
    parts = list(parts)
    names = {name for name, _ in parts}
    numbers = {name: _numbers(sizes[name], f"{purpose}|{seed}|{name}") for name in names}
    return sorted(parts, key=lambda part: (numbers[part[0]][part[1]], part))


def stream(key: str) -> np.random.Philox:
    """Philox under the SHA-256 of ``key``."""
    digest = hashlib.sha256(key.encode()).digest()[:16]
    return np.random.Philox(key=np.frombuffer(digest, dtype="<u8"))


def _numbers(size: int, key: str) -> list[int]:
    numbers: list[int] = np.asarray(stream(key).random_raw(size)).tolist()
    return numbers
