"""What a strategy may look at when it chooses the parts to close."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Optional

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, layer_of, type_of
from fairseq_lottery.heads.components.part_draws import Part, shuffled
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.masks import count_to_prune


@dataclass(frozen=True)
class StrategyInput:
    """What is closed already, how much shall be, and what may be looked at.

    Attributes:
        start: what is open so far; ``Parts(anatomy, {})`` is everything. What is closed stays
            closed and counts, and its mode is that of the result.
        kind: what is closed, one of ``KINDS``.
        fraction: the share of the ruled parts that is closed afterwards, in [0, 1]; the count is
            rounded to the nearest whole number, halves up.
        count: or how many of them are closed afterwards.
        types: the types that are ruled over, as ``enc_self``; the others stay as they are. By
            default all that the model has.
        layers: the numbers of the layers that are ruled over, from 0; by default all.
        scores: kind -> module -> a number for each part, for strategies that rank.
        seed: of what is left to chance.
        at_least: parts of each module that stay open; a module that has no more stays as it is.
        index: for strategies that leave one part: which, where there are no scores.

    Raises:
        LotteryError: any of them is out of range, or not of this model.
    """

    start: Parts
    kind: str = "heads"
    fraction: Optional[float] = None
    count: Optional[int] = None
    types: Optional[tuple[str, ...]] = None
    layers: Optional[tuple[int, ...]] = None
    scores: Optional[Scores] = None
    seed: int = 1
    at_least: int = 0
    index: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise LotteryError(f"{self.kind!r} cannot be closed; {', '.join(KINDS)} can")
        if not self.sizes:
            raise LotteryError(f"the model has no {self.kind} to close")
        there = list(dict.fromkeys(map(type_of, self.sizes)))
        for one in self.types or ():
            if one not in there:
                raise LotteryError(
                    f"the model has no {self.kind} of type {one!r}; it has {', '.join(there)}"
                )
        for layer in self.layers or ():
            if layer not in map(layer_of, self.sizes):
                raise LotteryError(
                    f"the model has no layer {layer!r} with {self.kind}; layers count from 0"
                )
        if not self.names:
            raise LotteryError(f"no {self.kind} are in both the types and the layers asked for")
        if type(self.at_least) is not int or self.at_least < 0:
            raise LotteryError(f"at least {self.at_least!r} open parts is no number from 0 on")
        if self.fraction is not None and self.count is not None:
            raise LotteryError("a fraction and a count are given; one of them says how many")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise LotteryError(f"the fraction {self.fraction:g} to close is outside [0, 1]")
        if self.count is not None and (type(self.count) is not int or self.count < 0):
            raise LotteryError(f"{self.count!r} is no number of {self.kind} to close")
        if self.count is not None and self.count > self.total:
            raise LotteryError(
                f"{self.count} {self.kind} cannot be closed, for there are {self.total}"
            )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Module -> parts, of all modules of the kind, ruled over or not."""
        return self.start.anatomy.sizes[self.kind]

    @cached_property
    def names(self) -> list[str]:
        """The modules that are ruled over, in the anatomy's order."""
        return [
            name
            for name in self.sizes
            if (self.types is None or type_of(name) in self.types)
            and (self.layers is None or layer_of(name) in self.layers)
        ]

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
        """How many parts are to be closed beyond those that are.

        Raises:
            LotteryError: nothing says how many, or it is fewer than are closed, or more than may.
        """
        if self.fraction is None and self.count is None:
            raise LotteryError("neither a fraction nor a count says how much shall be closed")
        if self.fraction is not None:
            count = count_to_prune(self.fraction, self.total)
        else:
            assert self.count is not None
            count = self.count
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
        """The start with ``parts`` closed as well."""
        closed: dict[str, list[int]] = {}
        for name, number in parts:
            closed.setdefault(name, []).append(number)
        mode = self.start.mode
        return Parts(self.start.anatomy, {self.kind: closed}, mode).intersection(self.start)

    def shuffled(self) -> list[Part]:
        """The open ruled parts in a random order, one for all fractions and strategies."""
        return shuffled(self.opened, self.sizes, f"close|{self.kind}", self.seed)

    def ranked(self) -> dict[Part, float]:
        """Score of every ruled part that is open, in the anatomy's order.

        Raises:
            LotteryError: no scores, or none for some, or of another size, or not finite.
        """
        given = (self.scores or {}).get(self.kind)
        if not given:
            raise LotteryError(f"there are no scores of {self.kind} to rank them by")
        for name in self.names:
            if name not in given or tuple(given[name].shape) != (self.sizes[name],):
                raise LotteryError(
                    f"the scores do not fit the {self.sizes[name]} {self.kind} of {name}; they are"
                    " of another model"
                )
            if not bool(torch.isfinite(given[name]).all()):
                raise LotteryError(f"the scores of the {self.kind} of {name} are not all finite")
        values = {name: given[name].tolist() for name in self.names}
        return {(name, number): values[name][number] for name, number in self.opened}

    def depth(self, name: str) -> Fraction:
        """Where a module's layer lies in its stack: 0 is the bottom, 1 the top."""
        return Fraction(2 * layer_of(name) + 1, 2 * self.stacks[stack_of(name)])

    @cached_property
    def stacks(self) -> Mapping[str, int]:
        """Encoder or decoder -> its layers."""
        layers: dict[str, int] = {}
        for name in self.sizes:
            layers[stack_of(name)] = max(layers.get(stack_of(name), 0), layer_of(name) + 1)
        return layers


def stack_of(name: str) -> str:
    """The encoder or decoder that a module is in: what its name has before the layers."""
    return name.partition("layers.")[0]
