"""Which parts are closed: strategies, each a function from ``StrategyInput`` to ``Parts``.

All of them close exactly the number asked for or refuse. Layers count from the bottom, and where
a stack is not as deep as the other, places in it compare by their share of its depth. What a
strategy by place leaves open, which heads of a layer, is left to chance, by the seed.

By importance: Michel et al. 2019, Prasanna et al. 2020. By chance and by place: Budhraja et al.
2020, whose layer groups are not published; those here are our definitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, Callable

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import layer_of, type_of
from fairseq_lottery.heads.components.parts import Part, Parts, shuffled
from fairseq_lottery.options.axes import STRATEGY

Strategy = Callable[[StrategyInput], Parts]


def _first(given: StrategyInput, order: Iterable[Part], count: int) -> list[Part]:
    """The first ``count`` parts of an order, those left out that a module has to keep."""
    left = dict(given.closable)
    found: list[Part] = []
    for name, number in order:
        if len(found) == count:
            break
        if left[name]:
            left[name] -= 1
            found.append((name, number))
    return found


def lowest(given: StrategyInput) -> Parts:
    """The lowest scores; of equal ones the first by the anatomy's order, then by number."""
    scores = given.ranked()
    return given.close(_first(given, sorted(scores, key=scores.__getitem__), given.wanted))


def highest(given: StrategyInput) -> Parts:
    """The highest scores, the adversarial control; of equal ones the first as in ``lowest``."""
    scores = given.ranked()
    return given.close(_first(given, sorted(scores, key=lambda p: -scores[p]), given.wanted))


def random(given: StrategyInput) -> Parts:
    """Any, over all. Under one seed a smaller fraction is a part of a larger one."""
    return given.close(_first(given, given.shuffled(), given.wanted))


def random_per_type(given: StrategyInput) -> Parts:
    """Any, the same share of each type (Budhraja et al. 2020: the same number).

    One part after the other goes to the type with the lowest share closed, the first of several;
    so types of one size differ by one part at most where at_least and the start let them.
    """
    there = dict.fromkeys(map(type_of, given.names))
    order: dict[str, list[Part]] = {one: [] for one in there}
    for part in given.shuffled():
        order[type_of(part[0])].append(part)
    sizes, most, chosen = (dict.fromkeys(there, 0) for _ in range(3))
    for name in given.names:
        sizes[type_of(name)] += given.sizes[name]
        most[type_of(name)] += given.closable[name]

    def share_closed(one: str) -> Fraction:
        return Fraction(sizes[one] - len(order[one]) + chosen[one], sizes[one])

    for _ in range(given.wanted):
        chosen[min((one for one in there if chosen[one] < most[one]), key=share_closed)] += 1
    return given.close(p for one in there for p in _first(given, order[one], chosen[one]))


def _by_place(place: Callable[[StrategyInput, str], Any]) -> Strategy:
    """Return a strategy: modules of the lowest place first, any parts of those of one place."""

    def strategy(given: StrategyInput) -> Parts:
        places = {name: place(given, name) for name in given.names}
        order = sorted(given.shuffled(), key=lambda part: places[part[0]])
        return given.close(_first(given, order, given.wanted))

    return strategy


def _from_middle(given: StrategyInput, name: str) -> Fraction:
    return abs(given.depth(name) - Fraction(1, 2))


def _type_order(given: StrategyInput, name: str) -> int:
    """The order of ``types``."""
    return list(given.types or dict.fromkeys(map(type_of, given.names))).index(type_of(name))


def apart(given: StrategyInput) -> Parts:
    """Any parts, but never of two consecutive layers of a stack.

    In each stack a set of layers is chosen that has no two neighbours and the most parts to
    close, of several such sets one by chance; any of their parts are closed. A decoder layer is
    one layer, its self-attention and its attention to the encoder together. With layers of one
    size this reaches half the parts, or one layer more where their number is odd.

    Raises:
        LotteryError: so many cannot be closed, or the start has closed parts in neighbours.
    """
    chosen = _layers_apart(given)
    order = [p for p in given.shuffled() if (stack_of(p[0]), layer_of(p[0])) in chosen]
    found = _first(given, order, given.wanted)
    if len(found) < given.wanted:
        raise LotteryError(
            f"{given.closed + given.wanted} of {given.total} {given.kind} cannot be closed without"
            f" consecutive layers; {given.closed + len(found)} can"
        )
    return given.close(found)


def _layers_apart(given: StrategyInput) -> set[tuple[str, int]]:
    """Return stack and layer of a largest set without neighbours, by parts that may be closed.

    Layers that have closed parts already are in it, whatever is ruled over. Of several such sets
    chance decides, by the seed.
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
        order = shuffled([(stack, n) for n in range(depth)], {stack: depth}, "apart", given.seed)
        worth = [0] * depth
        for chance, (_, layer) in enumerate(order):
            # one number for forced layers, then parts, then chance, where no two sets are equal
            count = parts[layer] + forced[layer] * (sum(parts) + 1)
            worth[layer] = (count << depth) + (1 << chance)
        found |= {(stack, layer) for layer in _most_worth(worth)}
    return found


def _most_worth(worth: list[int]) -> frozenset[int]:
    """Return the set without neighbours that is worth most, the sum over its layers.

    Layer by layer from the bottom, keeping the best set with the last layer and the best without.
    """
    with_last: tuple[int, frozenset[int]] = (0, frozenset())
    without = with_last
    for layer, value in enumerate(worth):
        total, layers = without
        without = max(without, with_last, key=lambda one: one[0])
        with_last = (total + value, layers | {layer})
    return max(without, with_last, key=lambda one: one[0])[1]


def one_left(given: StrategyInput) -> Parts:
    """All parts of each module but one: that of the highest score, without scores the first.

    With one type it is an entry of Michel et al.'s table of one head left.
    """
    return _leave_one(given, [[name] for name in given.names])


def all_but_one(given: StrategyInput) -> Parts:
    """All ruled parts but one: that of the highest score, without scores the first."""
    return _leave_one(given, [given.names])


def _leave_one(given: StrategyInput, groups: list[list[str]]) -> Parts:
    """Close all parts of each group of modules but the first one with the highest score."""
    if given.fraction is not None or given.count is not None:
        raise LotteryError("what leaves one part open takes neither a fraction nor a count")
    scores = dict.fromkeys(given.opened, 0.0) if given.scores is None else given.ranked()
    closing: list[Part] = []
    for names in groups:
        group = [part for part in given.opened if part[0] in names]
        if not group:
            raise LotteryError(f"{names[0]} has no open {given.kind}, of which one shall stay open")
        stays = max(group, key=scores.__getitem__)
        closing += [part for part in group if part != stays]
    return given.close(closing)


STRATEGIES: dict[str, Strategy] = STRATEGY.registry(
    {
        "lowest": lowest,
        "highest": highest,
        "random": random,
        "random-per-type": random_per_type,
        "top": _by_place(lambda given, name: -given.depth(name)),
        "bottom": _by_place(lambda given, name: given.depth(name)),
        # of two layers as far from the middle the lower first
        "middle": _by_place(lambda given, n: (_from_middle(given, n), given.depth(n))),
        "spare-middle": _by_place(lambda given, n: (-_from_middle(given, n), given.depth(n))),
        # layers 1, 3, 5 and on; after them 0, 2, 4 and on
        "alternate": _by_place(lambda given, n: (layer_of(n) % 2 == 0, given.depth(n))),
        "apart": apart,
        "types": _by_place(_type_order),
        "one-left": one_left,
        "all-but-one": all_but_one,
    }
)
