"""What a strategy reads to choose the components to prune."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Optional

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.head_roles import HeadRole
from fairseq_lottery.heads.components.anatomy import layer_of
from fairseq_lottery.heads.components.component_mask import Component, ComponentMask, shuffled
from fairseq_lottery.heads.measures.importance import Scores, refuse_unfit
from fairseq_lottery.masks import count_to_prune


@dataclass(frozen=True)
class StrategyInput:
    """Components that are pruned already, number to prune, and data that the strategy may read.

    "Candidates" are the components of the kind in modules of the types.

    Attributes:
        start: the components that are kept so far; ``ComponentMask(anatomy, {})`` keeps all. The
            components that it prunes stay pruned, and they count as pruned. The result has its
            mode.
        kind: what to prune, one of ``KINDS``.
        fraction: share of the candidates that is pruned afterwards, in [0, 1], halves rounded up.
        count: number of candidates that are pruned afterwards; replaces ``fraction``.
        types: types of modules, such as ``enc_self``; by default all that the model has.
        scores: kind -> module -> a number for each component, for strategies that rank.
        seed: seed of random choices.
        at_least: components that each module keeps; a module with fewer is not pruned.
        role: the heads with a role, for the strategy of that name.

    Raises:
        LotteryError: an attribute is out of range, or does not match the model.
    """

    start: ComponentMask
    kind: str = "heads"
    fraction: Optional[float] = None
    count: Optional[int] = None
    types: Optional[tuple[str, ...]] = None
    scores: Optional[Scores] = None
    seed: int = 1
    at_least: int = 0
    role: Optional[HeadRole] = None

    def __post_init__(self) -> None:
        _ = self.names  # rejects kinds and types that the model does not have
        if self.at_least < 0:
            raise LotteryError(f"at least {self.at_least} components is negative; give 0 or more")
        if self.fraction is not None and self.count is not None:
            raise LotteryError("both a fraction and a count are given; give one of them")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise LotteryError(f"the fraction {self.fraction:g} to prune is outside [0, 1]")
        if self.count is not None and not 0 <= self.count <= self.total:
            raise LotteryError(
                f"the count of {self.count} {self.kind} to prune is out of range (0 to"
                f" {self.total})"
            )

    @cached_property
    def names(self) -> list[str]:
        """Modules of the candidates, in the anatomy's order."""
        return self.start.anatomy.modules(self.kind, self.types)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Module -> number of components, for all modules of the kind, of any type."""
        return self.start.anatomy.sizes[self.kind]

    @property
    def total(self) -> int:
        """Number of candidates: the denominator of the fraction."""
        return sum(self.sizes[name] for name in self.names)

    @cached_property
    def kept(self) -> list[Component]:
        """Candidates that are not pruned yet, in the anatomy's order, then by number."""
        keep = self.start[self.kind]
        return [(n, number) for n in self.names for number in torch.nonzero(keep[n])[:, 0].tolist()]

    @property
    def pruned(self) -> int:
        """Number of candidates that are pruned already."""
        return self.total - len(self.kept)

    @cached_property
    def prunable(self) -> dict[str, int]:
        """Module of candidates -> number of components that may still be pruned."""
        spare = dict.fromkeys(self.names, -self.at_least)
        for name, _ in self.kept:
            spare[name] += 1
        return {name: max(0, count) for name, count in spare.items()}

    @property
    def to_prune(self) -> int:
        """Number of components to prune in addition; raise ``LotteryError`` if impossible."""
        count = self.count
        if self.fraction is not None:
            count = count_to_prune(self.fraction, self.total)
        if count is None:
            raise LotteryError("neither a fraction nor a count of components to prune is given")
        if count < self.pruned:
            raise LotteryError(
                f"{self.pruned} {self.kind} are pruned already, more than the {count} requested;"
                " give a larger share or count"
            )
        most = self.pruned + sum(self.prunable.values())
        if count > most:
            raise LotteryError(
                f"{count} of {self.total} {self.kind} cannot be pruned if each module keeps"
                f" {self.at_least}; prune at most {most}"
            )
        return count - self.pruned

    def prune(self, components: Iterable[Component]) -> ComponentMask:
        """Return ``start`` with ``components`` pruned as well."""
        return self.start.without(self.kind, components)

    def shuffled(self) -> list[Component]:
        """Return the kept candidates in a random order, one for all fractions and strategies."""
        return shuffled(self.kept, self.sizes, f"close|{self.kind}", self.seed)

    def ranked(self) -> dict[Component, float]:
        """Return the score of every kept candidate in order; reject scores of another model."""
        scores = (self.scores or {}).get(self.kind)
        if not scores:
            raise LotteryError(f"scores of {self.kind} are required to rank them")
        for name in self.names:
            text = f"the scores of the {self.kind} of {name}"
            refuse_unfit(scores.get(name), self.sizes[name], text)
        values = {name: scores[name].tolist() for name in self.names}
        return {(name, number): values[name][number] for name, number in self.kept}

    def depth(self, name: str) -> Fraction:
        """Return the position of a module in its stack: 0 is the bottom, 1 the top."""
        return Fraction(2 * layer_of(name) + 1, 2 * self.stacks[stack_of(name)])

    @cached_property
    def stacks(self) -> Mapping[str, int]:
        """Encoder or decoder -> number of layers."""
        layers: dict[str, int] = {}
        for name in self.sizes:
            layers[stack_of(name)] = max(layers.get(stack_of(name), 0), layer_of(name) + 1)
        return layers


def stack_of(name: str) -> str:
    """Return the encoder or decoder that a module is in: its name before ``layers.``."""
    return name.partition("layers.")[0]
