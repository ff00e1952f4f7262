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
from fairseq_lottery.heads.choices.spread_layers import layers_apart
from fairseq_lottery.heads.choices.strategy_input import StrategyInput, stack_of
from fairseq_lottery.heads.components.anatomy import layer_of, type_of
from fairseq_lottery.heads.components.part_draws import Part
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.options.axes import STRATEGY


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
    return given.close(_first(given, sorted(scores, key=lambda p: scores[p]), given.wanted))


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


def _by_place(given: StrategyInput, place: Callable[[str], Any]) -> Parts:
    """Modules of the lowest place first, any parts of those of one place."""
    places = {name: place(name) for name in given.names}
    order = sorted(given.shuffled(), key=lambda part: places[part[0]])
    return given.close(_first(given, order, given.wanted))


def top(given: StrategyInput) -> Parts:
    """Layer by layer, from the top."""
    return _by_place(given, lambda name: -given.depth(name))


def bottom(given: StrategyInput) -> Parts:
    """Layer by layer, from the bottom."""
    return _by_place(given, given.depth)


def middle(given: StrategyInput) -> Parts:
    """Layer by layer, from the middle outwards; of two as far from it the lower first."""
    return _by_place(given, lambda n: (abs(given.depth(n) - Fraction(1, 2)), given.depth(n)))


def spare_middle(given: StrategyInput) -> Parts:
    """Layer by layer, from the ends inwards; of two as far from the middle the lower first."""
    return _by_place(given, lambda n: (-abs(given.depth(n) - Fraction(1, 2)), given.depth(n)))


def alternate(given: StrategyInput) -> Parts:
    """Every second layer from the bottom, layers 1, 3, 5 and on; after them 0, 2, 4 and on."""
    return _by_place(given, lambda name: (layer_of(name) % 2 == 0, given.depth(name)))


def apart(given: StrategyInput) -> Parts:
    """Any parts, but never of two consecutive layers of a stack.

    In each stack a set of layers is chosen that has no two neighbours and the most parts to
    close, of several such sets one by chance; any of their parts are closed. A decoder layer is
    one layer, its self-attention and its attention to the encoder together. With layers of one
    size this reaches half the parts, or one layer more where their number is odd.

    Raises:
        LotteryError: so many cannot be closed, or the start has closed parts in neighbours.
    """
    chosen = layers_apart(given)
    order = [p for p in given.shuffled() if (stack_of(p[0]), layer_of(p[0])) in chosen]
    found = _first(given, order, given.wanted)
    if len(found) < given.wanted:
        raise LotteryError(
            f"{given.closed + given.wanted} of {given.total} {given.kind} cannot be closed without"
            f" consecutive layers; {given.closed + len(found)} can"
        )
    return given.close(found)


def types(given: StrategyInput) -> Parts:
    """Type by type, in the order of ``types``; any parts of the one where the count ends."""
    order = list(given.types or dict.fromkeys(map(type_of, given.names)))
    return _by_place(given, lambda name: order.index(type_of(name)))


def one_left(given: StrategyInput) -> Parts:
    """All parts of each module but one: the highest score's, or number ``index``.

    With one type and one layer it is an entry of Michel et al.'s table of one head left.
    """
    return _leave(given, [_parts_of(given, [name]) for name in given.names])


def all_but_one(given: StrategyInput) -> Parts:
    """All ruled parts but one: the highest score's, or the one at place ``index`` of them."""
    return _leave(given, [_parts_of(given, given.names)])


def _parts_of(given: StrategyInput, names: list[str]) -> list[Part]:
    return [(name, number) for name in names for number in range(given.sizes[name])]


def _leave(given: StrategyInput, groups: list[list[Part]]) -> Parts:
    """Close all of each group but one, the first of several with the highest score."""
    if given.fraction is not None or given.count is not None:
        raise LotteryError("what leaves one part open takes neither a fraction nor a count")
    scores = given.ranked() if given.scores is not None else None
    opened, closing = set(given.opened), []
    for group in groups:
        if scores is None:
            able = [part for n, part in enumerate(group) if n == given.index and part in opened]
        else:
            able = [part for part in group if part in opened]
        if not able:
            which = "none of them" if scores is not None else f"none with number {given.index}"
            raise LotteryError(
                f"of the {len(group)} {given.kind} from {group[0][0]} on one shall stay open, and"
                f" {which} is open so far"
            )
        stays = able[0] if scores is None else max(able, key=scores.__getitem__)
        closing += [part for part in group if part in opened and part != stays]
    return given.close(closing)


Strategy = Callable[[StrategyInput], Parts]

STRATEGIES: dict[str, Strategy] = STRATEGY.registry(
    {
        "lowest": lowest,
        "highest": highest,
        "random": random,
        "random-per-type": random_per_type,
        "top": top,
        "bottom": bottom,
        "middle": middle,
        "spare-middle": spare_middle,
        "alternate": alternate,
        "apart": apart,
        "types": types,
        "one-left": one_left,
        "all-but-one": all_but_one,
    }
)
