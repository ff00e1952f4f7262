"""Pruners of a user's own."""

from dataclasses import dataclass

from fairseq_lottery.masks import Exchange, Gradual, Pruner


@dataclass(frozen=True)
class OfGradients(Exchange):
    """Regrow where the summed gradient is largest, as RigL does (Evci et al. 2020)."""

    final: float
    start: int
    end: int
    every: int
    fraction: float = 0.3

    needs = ("dense_gradient",)

    def regrowth(self, given, name):
        return given.dense_gradients[name].abs()


@dataclass(frozen=True)
class ToStart(Exchange):
    """Regrow what started largest."""

    final: float
    start: int
    end: int
    every: int
    fraction: float = 0.3

    needs = ("start",)

    def regrowth(self, given, name):
        return given.start[name].abs()


@dataclass
class Counting(Pruner):
    """Prunes by a cubic schedule, and counts how often in a state of its own."""

    initial: float
    final: float
    start: int
    end: int
    every: int
    changes: int = 0

    schedule = "cubic"
    sparsity_at = Gradual.sparsity_at

    def next_mask(self, given):
        self.changes += 1
        return Gradual.next_mask(self, given)


@dataclass(frozen=True)
class Static(Pruner):
    """Keeps the mask that it finds."""

    final: float
    start: int
    end: int
    every: int

    def next_mask(self, given):
        return given.mask


@dataclass(frozen=True)
class OneLine(Pruner):
    """Prunes to its target at its start."""

    final: float
    start: int
    end: int
    every: int

    def next_mask(self, given):
        return given.select(given.scores, self.sparsity_at(given.update))
