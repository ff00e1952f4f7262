"""Good, random and bad subnetworks of one size (Prasanna et al. 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_lottery.structured.anatomy import KINDS
from fairseq_lottery.structured.draws import Part, shuffled
from fairseq_lottery.structured.parts import Parts

#: good are the survivors themselves
SUBNETWORKS = ("good", "random", "bad")


def subnetworks(good: Parts, seed: int) -> dict[str, Parts]:
    """The survivors and their two controls, each with as many open parts of each kind.

    ``random`` is sampled from all parts of a kind; in the public code every part is kept with
    the probability of the size, which matches it in expectation only. ``bad`` is sampled from
    what did not survive; where that is fewer, all of it is open, filled up with survivors by
    chance.

    Args:
        good: the survivors of a search.
        seed: of both samples.
    """
    chosen: dict[str, dict[str, Mapping[str, Tensor]]] = {"random": {}, "bad": {}}
    for kind in KINDS:
        sizes = good.anatomy.sizes[kind]
        everything = [(name, number) for name in sizes for number in range(sizes[name])]
        closed = set(good.closed(kind))
        size = len(everything) - len(closed)
        sample = shuffled(everything, sizes, f"random|{kind}", seed)
        chosen["random"][kind] = _open(sample[:size], sizes)
        sample = shuffled(everything, sizes, f"bad|{kind}", seed)
        sample = [p for p in sample if p in closed] + [p for p in sample if p not in closed]
        chosen["bad"][kind] = _open(sample[:size], sizes)
    made = {name: Parts.of(good.anatomy, opened, good.mode) for name, opened in chosen.items()}
    return {"good": good, **made}


def _open(parts: list[Part], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    opened = {name: torch.zeros(size, dtype=torch.bool) for name, size in sizes.items()}
    for name, number in parts:
        opened[name][number] = True
    return opened
