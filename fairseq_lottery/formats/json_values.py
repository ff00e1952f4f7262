"""Convert plain Python data to JSON and back without loss."""

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
    """Return ``value`` as JSON data; ``from_json`` is the inverse.

    Tuples, numbers that are not finite, mappings with keys other than strings, and namespaces
    become mappings with a type. Numbers of numpy become numbers of Python.

    Args:
        name: name of the value in the message.

    Raises:
        LotteryError: a part of the value is not plain data.
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
        items = [to_json(item, f"{name}[{number}]") for number, item in enumerate(value)]
        return items if isinstance(value, list) else {_TYPE: "tuple", "value": items}
    if isinstance(value, Mapping):
        pairs = {key: to_json(item, f"{name}.{key}") for key, item in value.items()}
        if all(isinstance(key, str) for key in pairs) and _TYPE not in pairs:
            return pairs
        return {_TYPE: "dict", "value": [[to_json(k, name), v] for k, v in pairs.items()]}
    raise LotteryError(f"{name} has type {type(value).__name__}, which compact files cannot store")


def from_json(value: Any) -> Any:
    """Return the argument of ``to_json`` for its result.

    Raises:
        ValueError, TypeError, KeyError: ``to_json`` did not return this value.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TYPE not in value:
        return {key: from_json(item) for key, item in value.items()}
    return _READERS[value[_TYPE]](value["value"])


_READERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "namespace": lambda settings: Namespace(**from_json(settings)),
    "tuple": lambda items: tuple(from_json(items)),
    "dict": lambda pairs: {from_json(key): from_json(item) for key, item in pairs},
}
