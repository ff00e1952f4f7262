"""Layers no two of which are neighbours."""

from __future__ import annotations

from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import layer_of
from fairseq_lottery.heads.components.part_draws import shuffled

#: what is to be as large as possible (parts, then numbers by chance), and the layers for it
_Set = tuple[tuple[int, int], frozenset[int]]


def layers_apart(given: StrategyInput) -> set[tuple[str, int]]:
    """Stack and layer of a largest set without neighbours, by parts that may be closed.

    Layers that have closed parts already are in it, whatever is ruled over.

    Raises:
        LotteryError: two neighbours have.
    """
    found = set()
    for stack, depth in given.stacks.items():
        parts, forced = [0] * depth, [False] * depth
        for name in given.sizes:
            if stack_of(name) == stack:
                parts[layer_of(name)] += given.closable.get(name, 0)
                forced[layer_of(name)] |= not bool(given.start[given.kind][name].all())
        for layer in range(depth - 1):
            if forced[layer] and forced[layer + 1]:
                raise LotteryError(
                    f"layers {layer} and {layer + 1} of {stack.rstrip('.') or 'the model'} have"
                    f" closed {given.kind} already, so consecutive layers cannot be spared"
                )
        chances = _chances(stack, depth, given.seed)
        found |= {(stack, layer) for layer in _largest(parts, forced, chances)}
    return found


def _largest(parts: list[int], forced: list[bool], chances: list[int]) -> frozenset[int]:
    """The set with the most parts, of several the one with the highest sum of chances.

    Layer by layer from the bottom, keeping the best set with the last layer and the best without.
    """
    with_last: Optional[_Set] = None
    without: Optional[_Set] = ((0, 0), frozenset())
    for layer, (count, must, chance) in enumerate(zip(parts, forced, chances)):
        either = [one for one in (with_last, without) if one is not None]
        best = max(either, key=lambda one: one[0])
        if without is not None:
            (total, luck), layers = without
            with_last = ((total + count, luck + chance), layers | {layer})
        else:
            with_last = None
        without = None if must else best
    either = [one for one in (with_last, without) if one is not None]
    return max(either, key=lambda one: one[0])[1]


def _chances(stack: str, depth: int, seed: int) -> list[int]:
    """A number for each layer by chance; no two sets of layers have one sum."""
    order = shuffled([(stack, n) for n in range(depth)], {stack: depth}, "apart", seed)
    return [1 << order.index((stack, layer)) for layer in range(depth)]
