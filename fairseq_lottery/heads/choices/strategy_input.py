"""What a strategy may look at when it chooses the parts to close."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Optional

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import layer_of
from fairseq_lottery.heads.components.parts import Part, Parts, shuffled
from fairseq_lottery.heads.measures.importance import Scores, refuse_unfit
from fairseq_lottery.masks import count_to_prune


@dataclass(frozen=True)
class StrategyInput:
    """What is closed already, how much shall be, and what may be looked at.

    Attributes:
        start: what is open so far; ``Parts(anatomy, {})`` is everything. What is closed stays
            closed and counts, and its mode is that of the result.
        kind: what is closed, one of ``KINDS``.
        fraction: share of the ruled parts that is closed afterwards, in [0, 1], halves rounded up.
        count: or how many of them are closed afterwards.
        types: those that are ruled over, as ``enc_self``; by default all that the model has.
        scores: kind -> module -> a number for each part, for strategies that rank.
        seed: of what is left to chance.
        at_least: parts of each module that stay open; a module that has no more stays as it is.

    Raises:
        LotteryError: any of them is out of range, or not of this model.
    """

    start: Parts
    kind: str = "heads"
    fraction: Optional[float] = None
    count: Optional[int] = None
    types: Optional[tuple[str, ...]] = None
    scores: Optional[Scores] = None
    seed: int = 1
    at_least: int = 0

    def __post_init__(self) -> None:
        _ = self.names  # refuses kinds and types that the model does not have
        if self.at_least < 0:
            raise LotteryError(f"at least {self.at_least} open parts is no number from 0 on")
        if self.fraction is not None and self.count is not None:
            raise LotteryError("a fraction and a count are given; one of them says how many")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise LotteryError(f"the fraction {self.fraction:g} to close is outside [0, 1]")
        if self.count is not None and not 0 <= self.count <= self.total:
            raise LotteryError(
                f"{self.count} {self.kind} cannot be closed, for there are {self.total}"
            )

    @cached_property
    def names(self) -> list[str]:
        """The modules that are ruled over, in the anatomy's order."""
        return self.start.anatomy.modules(self.kind, self.types)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Module -> parts, of all modules of the kind, ruled over or not."""
        return self.start.anatomy.sizes[self.kind]

    @property
    def total(self) -> int:
        """Parts that are ruled over: the denominator of the fraction."""
        return sum(self.sizes[name] for name in self.names)

    @cached_property
    def opened(self) -> list[Part]:
        """The ruled parts that are open, in the anatomy's order, then by number."""
        keep = self.start[self.kind]
        return [(n, number) for n in self.names for number in torch.nonzero(keep[n])[:, 0].tolist()]

    @property
    def closed(self) -> int:
        """The ruled parts that are closed already."""
        return self.total - len(self.opened)

    @cached_property
    def closable(self) -> dict[str, int]:
        """Ruled module -> parts that may still be closed."""
        left = dict.fromkeys(self.names, -self.at_least)
        for name, _ in self.opened:
            left[name] += 1
        return {name: max(0, count) for name, count in left.items()}

    @property
    def wanted(self) -> int:
        """How many parts are to be closed beyond those that are; refuses what cannot be."""
        count = self.count
        if self.fraction is not None:
            count = count_to_prune(self.fraction, self.total)
        if count is None:
            raise LotteryError("neither a fraction nor a count says how much shall be closed")
        if count < self.closed:
            raise LotteryError(
                f"{self.closed} {self.kind} are closed already, more than the {count} asked for;"
                " what is closed stays closed"
            )
        most = self.closed + sum(self.closable.values())
        if count > most:
            raise LotteryError(
                f"{count} of {self.total} {self.kind} cannot be closed where each module keeps"
                f" {self.at_least}; {most} can"
            )
        return count - self.closed

    def close(self, parts: Iterable[Part]) -> Parts:
        """Return the start with ``parts`` closed as well."""
        return self.start.without(self.kind, parts)

    def shuffled(self) -> list[Part]:
        """Return the open ruled parts in a random order, one for all fractions and strategies."""
        return shuffled(self.opened, self.sizes, f"close|{self.kind}", self.seed)

    def ranked(self) -> dict[Part, float]:
        """Return the score of every open ruled part in order; refuses scores that do not fit."""
        given = (self.scores or {}).get(self.kind)
        if not given:
            raise LotteryError(f"there are no scores of {self.kind} to rank them by")
        for name in self.names:
            what = f"the scores of the {self.kind} of {name}"
            refuse_unfit(given.get(name), self.sizes[name], what)
        values = {name: given[name].tolist() for name in self.names}
        return {(name, number): values[name][number] for name, number in self.opened}

    def depth(self, name: str) -> Fraction:
        """Return where a module's layer lies in its stack: 0 is the bottom, 1 the top."""
        return Fraction(2 * layer_of(name) + 1, 2 * self.stacks[stack_of(name)])

    @cached_property
    def stacks(self) -> Mapping[str, int]:
        """Encoder or decoder -> its layers."""
        layers: dict[str, int] = {}
        for name in self.sizes:
            layers[stack_of(name)] = max(layers.get(stack_of(name), 0), layer_of(name) + 1)
        return layers


def stack_of(name: str) -> str:
    """Return the encoder or decoder that a module is in: what its name has before the layers."""
    return name.partition("layers.")[0]
