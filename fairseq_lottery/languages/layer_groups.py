"""Groups of layers: thirds of each stack, or single layers."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import stack_of
from fairseq_lottery.heads.components.anatomy import layer_of

#: ways to group layers
GROUPINGS = ("thirds", "each")
THIRDS = ("bottom", "middle", "top")


def layer_groups(names: Iterable[str], grouping: str = "thirds") -> dict[str, list[str]]:
    """Return group -> names of modules or parameters in its layers, from the bottom.

    A layer is in the third that its middle is in: of 2 layers none is in the middle, of 4 layers
    two are. Encoder and decoder are divided separately.

    Raises:
        LotteryError: the grouping is unknown.
    """
    if grouping not in GROUPINGS:
        raise LotteryError(f"--layers {grouping!r} is unknown; choose {' or '.join(GROUPINGS)}")
    names = list(names)
    depths: dict[str, int] = {}
    for name in names:
        depths[stack_of(name)] = max(depths.get(stack_of(name), 0), layer_of(name) + 1)
    if grouping == "each":
        groups = {f"layer {n + 1}": list[str]() for n in range(max(depths.values(), default=0))}
        for name in names:
            groups[f"layer {layer_of(name) + 1}"].append(name)
        return groups
    groups = {third: [] for third in THIRDS}
    for name in names:
        middle = Fraction(2 * layer_of(name) + 1, 2 * depths[stack_of(name)])
        groups[THIRDS[int(3 * middle)]].append(name)
    return {third: members for third, members in groups.items() if members}
