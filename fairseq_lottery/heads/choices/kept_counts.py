"""Choices with a number of kept components for each layer and type (Voita et al. 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.anatomy import type_of
from fairseq_lottery.heads.components.component_mask import Component, ComponentMask

#: strategies that order the components of a layer
ORDERS = ("lowest", "highest", "random")

Counts = Mapping[str, tuple[int, ...]]


def read_counts(texts: Sequence[str]) -> Counts:
    """Return type -> number of kept components of each layer, from texts as ``enc_self=2,1``.

    Raises:
        LotteryError: a text is malformed, or a type is given twice.
    """
    counts: dict[str, tuple[int, ...]] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)=(\d{1,7}(?:,\d{1,7})*)", text, re.ASCII)
        if match is None:
            raise LotteryError(
                f"--keep {text!r} is malformed; give the type and a number for each layer, as in"
                " enc_self=4,2,1"
            )
        if match[1] in counts:
            raise LotteryError(f"--keep has {match[1]} twice; give each type once")
        counts[match[1]] = tuple(map(int, match[2].split(",")))
    return counts


def keep_counts(inputs: StrategyInput, counts: Counts, strategy: str = "lowest") -> ComponentMask:
    """Keep a number of components in each layer of some types; other types are not changed.

    Args:
        inputs: the candidates; its fraction, count, types and ``at_least`` are ignored.
        counts: type -> number of kept components of each layer, from the bottom.
        strategy: what is pruned first in each layer: the ``lowest`` or ``highest`` scores, or
            ``random`` components.

    Raises:
        LotteryError: the model does not have these layers, or a layer has too few components.
    """
    if strategy not in ORDERS:
        raise LotteryError(
            f"the strategy {strategy} does not order the components of a layer; choose one of"
            f" {', '.join(ORDERS)}"
        )
    inputs = replace(inputs, fraction=None, count=None, types=tuple(counts), at_least=0)
    order = inputs.shuffled()
    if strategy != "random":
        scores, sign = inputs.ranked(), 1 if strategy == "lowest" else -1
        order = sorted(scores, key=lambda component: sign * scores[component])
    pruned: list[Component] = []
    for one, numbers in counts.items():
        modules = [name for name in inputs.names if type_of(name) == one]
        if len(modules) != len(numbers):
            raise LotteryError(
                f"{one} has {len(modules)} layers, but {len(numbers)} numbers of {inputs.kind} to"
                " keep are given"
            )
        for layer, (name, number) in enumerate(zip(modules, numbers), 1):
            available = [component for component in order if component[0] == name]
            if number > len(available):
                raise LotteryError(
                    f"layer {layer} of {one} has {len(available)} {inputs.kind} left, so {number}"
                    " cannot be kept"
                )
            pruned += available[: len(available) - number]
    return inputs.prune(pruned)
