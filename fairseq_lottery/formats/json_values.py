"""Plain Python data as JSON and back, without loss: also what JSON has no word for."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fairseq_lottery.errors import LotteryError

#: key of a mapping that stands for a value of another type
_TYPE = "__type__"


def to_json(value: Any, name: str) -> Any:
    """Return what ``from_json`` turns into ``value`` again.

    Tuples, numbers that are not finite, mappings whose keys are not texts, and namespaces become
    mappings with a type; all that JSON holds stays as it is. Numbers of numpy become Python's.

    Args:
        name: of the value, for the sentence.

    Raises:
        LotteryError: something in it is not plain data.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_TYPE: "float", "value": repr(value)}
    if isinstance(value, Namespace):
        return {_TYPE: "namespace", "value": to_json(vars(value), name)}
    if isinstance(value, (list, tuple)):
        items = [to_json(one, f"{name}[{number}]") for number, one in enumerate(value)]
        return items if isinstance(value, list) else {_TYPE: "tuple", "value": items}
    if isinstance(value, Mapping):
        pairs = {key: to_json(one, f"{name}.{key}") for key, one in value.items()}
        if all(isinstance(key, str) for key in pairs) and _TYPE not in pairs:
            return pairs
        return {_TYPE: "dict", "value": [[to_json(k, name), v] for k, v in pairs.items()]}
    raise LotteryError(
        f"{name} is of type {type(value).__name__}, which a compact file does not hold"
    )


def from_json(value: Any) -> Any:
    """Return the value that ``to_json`` was given.

    Raises:
        ValueError, TypeError, KeyError: it was not written by ``to_json``.
    """
    if isinstance(value, list):
        return [from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _TYPE not in value:
        return {key: from_json(one) for key, one in value.items()}
    return _READERS[value[_TYPE]](value["value"])


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "namespace": lambda settings: Namespace(**from_json(settings)),
    "tuple": lambda items: tuple(from_json(items)),
    "dict": lambda pairs: {from_json(key): from_json(one) for key, one in pairs},
}
