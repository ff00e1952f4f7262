"""What closing parts really does: the exact measure that estimates are held against.

Michel et al. 2019, section 3: one head out at a time, and all heads of a layer out but one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.importance import Scores

Measure = Callable[[Parts], float]


def one_out(start: Parts, kinds: Iterable[str], measure: Measure) -> Scores:
    """How the metric changes when one open part closes: without it, less with it.

    Args:
        start: what is open so far; parts that are closed already change nothing.
        kinds: of ``KINDS``; a measurement is made for every part, so units take long.

    Returns:
        kind -> module -> a difference for each part.
    """
    full = measure(start)
    found: Scores = {}
    for kind in kinds:
        found[kind] = {}
        for name, keep in start[kind].items():
            effect = torch.zeros(keep.numel(), dtype=torch.float64)
            for number in torch.nonzero(keep).flatten().tolist():
                effect[number] = measure(without(start, kind, name, [number])) - full
            found[kind][name] = effect
    return found


def one_left(start: Parts, measure: Measure) -> Scores:
    """How the metric changes when only one head of a module stays open; head by head."""
    full = measure(start)
    found: Scores = {"heads": {}}
    for name, keep in start["heads"].items():
        effect = torch.zeros(keep.numel(), dtype=torch.float64)
        opened = torch.nonzero(keep).flatten().tolist()
        for number in opened:
            others = [other for other in opened if other != number]
            effect[number] = measure(without(start, "heads", name, others)) - full
        found["heads"][name] = effect
    return found


def without(parts: Parts, kind: str, name: str, numbers: list[int]) -> Parts:
    """``parts`` with some more of one module closed.

    Raises:
        LotteryError: one is closed already, or there is none.
    """
    if not all(0 <= n < parts[kind][name].numel() and parts[kind][name][n] for n in numbers):
        raise LotteryError(f"{name} has not all of {kind} {numbers} open")
    opened = {k: dict(parts[k]) for k in parts.anatomy.sizes}
    opened[kind][name] = opened[kind][name].clone()
    opened[kind][name][numbers] = False
    return Parts.of(parts.anatomy, opened, parts.mode)
