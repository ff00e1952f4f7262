"""Read untrusted JSON strictly, and limit the size and depth of untrusted values."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError

#: integers have at most 64 bits
_LARGEST = 2**63
#: maximum number of dimensions of a tensor in torch
MOST_DIMENSIONS = 64
#: maximum number and depth of values in a record; large Transformers have some hundreds
_MOST, _DEEPEST = 100_000, 50
#: maximum characters of JSON, and commas and opening brackets. The plan of a hundred trainings has
#: 0.8 million and 28 thousand; a mapping of one name takes 40 times its text in memory
_LONGEST, _MOST_PARTS = 1 << 24, 1 << 20


def read_json(text: str, allow_nan: bool = False) -> Any:
    """Parse JSON that all readers interpret in the same way.

    Args:
        allow_nan: whether numbers may be NaN or infinite, as Python writes them.

    Raises:
        ValueError: the JSON is malformed, too large or nested too deeply, has a repeated name or a
            surrogate, or a number that is not finite or exceeds 64 bits.
    """

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, value in pairs:
            if name in entries:
                raise ValueError(f"{name[:80]!r} is given twice")
            entries[name] = value
        return entries

    def to_constant(name: str) -> float:
        if not allow_nan:
            raise ValueError(f"{name} is not a number")
        return float(name)

    def to_int(digits: str) -> int:
        if len(digits) > 20 or not -_LARGEST <= int(digits) < _LARGEST:
            raise ValueError(f"the number {digits[:20]}... is beyond 64 bits")
        return int(digits)

    def to_float(digits: str) -> float:
        number = float(digits)
        if not allow_nan and number in (float("inf"), -float("inf")):
            raise ValueError(f"the number {digits[:20]} is too large")
        return number

    if len(text) > _LONGEST or sum(map(text.count, ",[{")) > _MOST_PARTS:
        raise ValueError("it is larger than any file of fairseq-lottery")
    if not text.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(
            text,
            object_pairs_hook=to_dict,
            parse_constant=to_constant,
            parse_int=to_int,
            parse_float=to_float,
        )
        # JSON can contain lone surrogates, which UTF-8 cannot encode
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    refuse_nested(value, "it", math.inf)
    return value


def refuse_other_than_json(value: Any, what: str) -> None:
    """Refuse values that JSON cannot represent; pickles can contain rings and repeated lists.

    Args:
        what: name of the value in messages.

    Raises:
        LotteryError: a value has another type or is not finite, or there are too many values.
    """

    def refuse_other(item: Any) -> None:
        is_dict = isinstance(item, dict) and all(isinstance(name, str) for name in item)
        if not (is_dict or item is None or isinstance(item, (list, tuple, str, bool, int, float))):
            raise LotteryError(f"{what} holds a {type(item).__name__}")
        if isinstance(item, float) and not math.isfinite(item):
            raise LotteryError(f"{what} holds {item}")

    refuse_nested(value, what, _MOST, refuse_other)


def refuse_nested(
    value: Any, what: str, limit: float, refuse_other: Optional[Callable[[Any], None]] = None
) -> None:
    """Refuse a value with more than ``limit`` values in it, or that is nested deeply or in a ring.

    Args:
        what: name of the value in messages.
        refuse_other: function that is called with each value.
    """
    count, level = 1, [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if refuse_other is not None:
                refuse_other(item)
            if isinstance(item, Namespace):
                inner += vars(item).values()
            elif isinstance(item, Mapping):
                inner += item.values()
            elif isinstance(item, (list, tuple)):
                inner += item
            if count + len(inner) > limit:
                raise LotteryError(f"{what} holds more than {limit} values")
        count += len(inner)
        level = inner
    if level:
        raise LotteryError(f"{what} is nested too deeply, or holds itself")
