"""Strategies: functions from ``StrategyInput`` to ``ComponentMask`` that choose what to prune.

Each prunes exactly the requested number or raises ``LotteryError``. Layers count from the bottom.
Where encoder and decoder differ in depth, positions compare by their share of the depth. A strategy
by position chooses at random within a layer, by the seed.

By importance: Michel et al. 2019, Prasanna et al. 2020. At random and by position: Budhraja et al.
2020, whose groups of layers are not published; the definitions here are ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Callable

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import layer_of, type_of
from fairseq_lottery.heads.components.component_mask import Component, ComponentMask, shuffled
from fairseq_lottery.options.axes import STRATEGY

Strategy = Callable[[StrategyInput], ComponentMask]


def _first(inputs: StrategyInput, order: Iterable[Component], count: int) -> list[Component]:
    """Return the first ``count`` components of an order, without those that a module must keep."""
    spare = dict(inputs.prunable)
    chosen: list[Component] = []
    for name, number in order:
        if len(chosen) == count:
            break
        if spare[name]:
            spare[name] -= 1
            chosen.append((name, number))
    return chosen


def lowest(inputs: StrategyInput) -> ComponentMask:
    """Prune the lowest scores; of equal ones the first in the anatomy's order, then by number."""
    scores = inputs.ranked()
    return inputs.prune(_first(inputs, sorted(scores, key=scores.__getitem__), inputs.to_prune))


def highest(inputs: StrategyInput) -> ComponentMask:
    """Prune the highest scores, the adversarial control; order equal ones as in ``lowest``."""
    scores = inputs.ranked()
    return inputs.prune(_first(inputs, sorted(scores, key=lambda c: -scores[c]), inputs.to_prune))


def random(inputs: StrategyInput) -> ComponentMask:
    """Prune at random. With one seed, a larger fraction contains a smaller one."""
    return inputs.prune(_first(inputs, inputs.shuffled(), inputs.to_prune))


def random_per_type(inputs: StrategyInput) -> ComponentMask:
    """Prune at random, the same share of each type (Budhraja et al. 2020: the same number).

    Components are chosen one at a time, from the first type with the lowest pruned share. So types
    of one size differ by one component at most, unless ``at_least`` or ``start`` prevents it.
    """
    types = dict.fromkeys(map(type_of, inputs.names))
    order: dict[str, list[Component]] = {one: [] for one in types}
    for component in inputs.shuffled():
        order[type_of(component[0])].append(component)
    sizes, most, chosen = (dict.fromkeys(types, 0) for _ in range(3))
    for name in inputs.names:
        sizes[type_of(name)] += inputs.sizes[name]
        most[type_of(name)] += inputs.prunable[name]

    def share_pruned(one: str) -> Fraction:
        return Fraction(sizes[one] - len(order[one]) + chosen[one], sizes[one])

    for _ in range(inputs.to_prune):
        chosen[min((one for one in types if chosen[one] < most[one]), key=share_pruned)] += 1
    return inputs.prune(c for one in types for c in _first(inputs, order[one], chosen[one]))


def _by_position(position: Callable[[StrategyInput, str], Any]) -> Strategy:
    """Return a strategy that prunes the lowest position first, and at random within a position."""

    def strategy(inputs: StrategyInput) -> ComponentMask:
        positions = {name: position(inputs, name) for name in inputs.names}
        order = sorted(inputs.shuffled(), key=lambda component: positions[component[0]])
        return inputs.prune(_first(inputs, order, inputs.to_prune))

    return strategy


def _from_middle(inputs: StrategyInput, name: str) -> Fraction:
    return abs(inputs.depth(name) - Fraction(1, 2))


def _type_order(inputs: StrategyInput, name: str) -> int:
    """Return the index of a module's type in ``types``."""
    return list(inputs.types or dict.fromkeys(map(type_of, inputs.names))).index(type_of(name))


def apart(inputs: StrategyInput) -> ComponentMask:
    """Prune at random, but never in two consecutive layers of a stack.

    Each stack gets a set of layers without two neighbours and with the most prunable components;
    one of several such sets is chosen at random. Components of these layers are pruned at random. A
    decoder layer is one layer: its self-attention and its encoder-decoder attention together. With
    layers of one size this reaches half of the components, plus one layer if their number is odd.

    Raises:
        LotteryError: so many cannot be pruned, or ``start`` prunes components in two neighbours.
    """
    layers = _layers_apart(inputs)
    order = [c for c in inputs.shuffled() if (stack_of(c[0]), layer_of(c[0])) in layers]
    chosen = _first(inputs, order, inputs.to_prune)
    if len(chosen) < inputs.to_prune:
        raise LotteryError(
            f"{inputs.pruned + inputs.to_prune} of {inputs.total} {inputs.kind} cannot be pruned"
            f" without consecutive layers; prune at most {inputs.pruned + len(chosen)}"
        )
    return inputs.prune(chosen)


def _layers_apart(inputs: StrategyInput) -> set[tuple[str, int]]:
    """Return the (stack, layer) pairs without neighbours that have the most prunable components.

    Layers with pruned components are always in it, of any type. Of several such sets the seed
    chooses one.
    """
    chosen = set()
    for stack, depth in inputs.stacks.items():
        counts, forced = [0] * depth, [False] * depth
        for name in inputs.sizes:
            if stack_of(name) == stack:
                counts[layer_of(name)] += inputs.prunable.get(name, 0)
                forced[layer_of(name)] |= not bool(inputs.start[inputs.kind][name].all())
        for layer in range(depth - 1):
            if forced[layer] and forced[layer + 1]:
                raise LotteryError(
                    f"layers {layer} and {layer + 1} of {stack.rstrip('.') or 'the model'} have"
                    f" pruned {inputs.kind} already, but apart prunes no consecutive layers;"
                    " choose another strategy"
                )
        order = shuffled([(stack, n) for n in range(depth)], {stack: depth}, "apart", inputs.seed)
        values = [0] * depth
        for chance, (_, layer) in enumerate(order):
            # one number: forced layers first, then components, then chance, so that no two sets tie
            count = counts[layer] + forced[layer] * (sum(counts) + 1)
            values[layer] = (count << depth) + (1 << chance)
        chosen |= {(stack, layer) for layer in _best_layers(values)}
    return chosen


def _best_layers(values: list[int]) -> frozenset[int]:
    """Return the set of layers without neighbours that has the largest sum of values.

    Goes from the bottom to the top and keeps the best set with the last layer and without it.
    """
    with_last: tuple[int, frozenset[int]] = (0, frozenset())
    without = with_last
    for layer, value in enumerate(values):
        total, layers = without
        without = max(without, with_last, key=lambda one: one[0])
        with_last = (total + value, layers | {layer})
    return max(without, with_last, key=lambda one: one[0])[1]


def role(inputs: StrategyInput) -> ComponentMask:
    """Prune the heads that have a role first, or those that do not.

    Among them the best fit to the role is pruned first, or the worst fit; with scores the lowest
    score is. Equal ones are ordered as in ``lowest``. Without a fraction and a count it prunes
    exactly these heads, except those that modules must keep.

    Raises:
        LotteryError: no role is given, or components other than heads are pruned.
    """
    given = inputs.role
    if given is None or inputs.kind != "heads":
        raise LotteryError(
            "the strategy role prunes heads by a role; give --roles and --role, and --kind heads"
        )
    scores = {} if inputs.scores is None else inputs.ranked()
    order = sorted(inputs.kept, key=lambda one: given.order(one, scores.get(one)))
    if inputs.fraction is None and inputs.count is None:
        order = [one for one in order if given.is_first(one)]
        return inputs.prune(_first(inputs, order, len(order)))
    return inputs.prune(_first(inputs, order, inputs.to_prune))


def one_left(inputs: StrategyInput) -> ComponentMask:
    """Prune all components of each module but one: the highest score, or the first without scores.

    With one type it is an entry of the table of one remaining head in Michel et al.
    """
    return _leave_one(inputs, [[name] for name in inputs.names])


def all_but_one(inputs: StrategyInput) -> ComponentMask:
    """Prune all candidates but one: the highest score, or the first without scores."""
    return _leave_one(inputs, [inputs.names])


def _leave_one(inputs: StrategyInput, groups: list[list[str]]) -> ComponentMask:
    """Prune all components of each group of modules but the first one with the highest score."""
    if inputs.fraction is not None or inputs.count is not None:
        raise LotteryError("a strategy that keeps one component takes no fraction and no count")
    scores = dict.fromkeys(inputs.kept, 0.0) if inputs.scores is None else inputs.ranked()
    chosen: list[Component] = []
    for names in groups:
        group = [component for component in inputs.kept if component[0] in names]
        if not group:
            raise LotteryError(f"{names[0]} has no {inputs.kind} left to keep one of them")
        survivor = max(group, key=scores.__getitem__)
        chosen += [component for component in group if component != survivor]
    return inputs.prune(chosen)


STRATEGIES: dict[str, Strategy] = STRATEGY.registry(
    {
        "lowest": lowest,
        "highest": highest,
        "random": random,
        "random-per-type": random_per_type,
        "top": _by_position(lambda inputs, name: -inputs.depth(name)),
        "bottom": _by_position(lambda inputs, name: inputs.depth(name)),
        # of two layers at one distance from the middle the lower first
        "middle": _by_position(lambda inputs, n: (_from_middle(inputs, n), inputs.depth(n))),
        "spare-middle": _by_position(lambda inputs, n: (-_from_middle(inputs, n), inputs.depth(n))),
        # layers 1, 3, 5 and so on; after them 0, 2, 4 and so on
        "alternate": _by_position(lambda inputs, n: (layer_of(n) % 2 == 0, inputs.depth(n))),
        "apart": apart,
        "types": _by_position(_type_order),
        "role": role,
        "one-left": one_left,
        "all-but-one": all_but_one,
    }
)
