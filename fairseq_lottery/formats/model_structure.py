"""Depth, width and heads of a model, compared before its parameters one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError

Shapes = Mapping[str, tuple[int, ...]]


def structure_of(
    shapes: Shapes, architecture: Mapping[str, Any], adapter: TaskAdapter
) -> dict[str, int]:
    """Return quantity -> number, for the quantities that are known.

    Args:
        shapes: name -> shape of every parameter.
        architecture: settings of the model; only they state the number of heads.
        adapter: adapter of the model's task.
    """
    structure = {}
    for side, stack in adapter.stacks.items():
        layer = re.compile(rf"{re.escape(stack.prefix)}\.layers\.(\d+)\.(.*)")
        own = {match.groups(): shapes[match[0]] for match in map(layer.fullmatch, shapes) if match}
        if own:
            structure[f"{side} layers"] = len({number for number, _ in own})
        first = own.get(("0", "fc1.weight"), ())
        if len(first) == 2:
            structure[f"FFN units per {side} layer"], structure[f"{side} dimensions"] = first
        heads = architecture.get(f"{side}_attention_heads")
        if type(heads) is int:
            structure[f"heads per {side} layer"] = heads
    return structure


def refuse_other_structure(
    structure: Mapping[str, int], expected: Mapping[str, int], owner: str, other: object
) -> None:
    """Refuse a model whose depth, width or heads differ from those of another.

    Args:
        structure, expected: structures of both; a quantity that one of them lacks is not compared.
        owner: description of the first model for the message.
        other: description of the other model.
    """
    for quantity, number in structure.items():
        if expected.get(quantity, number) != number:
            raise LotteryError(
                f"{owner} has {number} {quantity}, but {other} has {expected[quantity]}; use models"
                " of one architecture"
            )
