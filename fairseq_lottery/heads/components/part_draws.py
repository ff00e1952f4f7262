"""Random numbers of parts, from a seed and names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairseq_lottery.masks.streams import raw_bits

#: module and number of a part, from 0
Part = tuple[str, int]


def shuffled(
    parts: Iterable[Part], sizes: Mapping[str, int], purpose: str, seed: int
) -> list[Part]:
    """``parts`` in a random order.

    Every part has a number of its own, which depends on nothing but ``purpose``, the seed, and
    its module's name and size: so an order of some parts is that of all with the others left out.

    Args:
        sizes: module -> how many parts it has.
    """
    parts = list(parts)
    names = {name for name, _ in parts}
    numbers = {n: raw_bits(f"{purpose}|{seed}|{n}", sizes[n]).tolist() for n in names}
    return sorted(parts, key=lambda part: (numbers[part[0]][part[1]], part))
