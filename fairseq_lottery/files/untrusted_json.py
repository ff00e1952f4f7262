"""What anybody may have written: JSON read without second thoughts, and a limit of all readers."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError

#: whole numbers beyond 64 bits are none that anything here counts
_LARGEST = 2**63
#: of a tensor: torch calculates with no more
MOST_DIMENSIONS = 64
#: of values in a record; one of the largest Transformers' has some hundreds
_MOST, _DEEPEST = 100_000, 50
#: characters of JSON, and its commas and opening brackets. The plan of a hundred trainings has 0.8
#: million and 28 thousand; in memory a mapping of one name takes 40 times its text
_LONGEST, _MOST_PARTS = 1 << 24, 1 << 20


def read_json(text: str, allow_nan: bool = False) -> Any:
    """Read JSON of which no two readers could disagree.

    Args:
        allow_nan: whether numbers may be NaN or infinite, as Python writes them.

    Raises:
        ValueError: malformed JSON; larger or nested more deeply than any file of ours; a name
            that is given twice; a number that is not finite or exceeds 64 bits; half a character.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"{name[:80]!r} is given twice")
            found[name] = value
        return found

    def constant(name: str) -> float:
        if not allow_nan:
            raise ValueError(f"{name} is no number")
        return float(name)

    def whole(digits: str) -> int:
        if len(digits) > 20 or not -_LARGEST <= int(digits) < _LARGEST:
            raise ValueError(f"the number {digits[:20]}... is beyond 64 bits")
        return int(digits)

    def fraction(digits: str) -> float:
        number = float(digits)
        if not allow_nan and number in (float("inf"), -float("inf")):
            raise ValueError(f"the number {digits[:20]} is too large")
        return number

    if len(text) > _LONGEST or sum(map(text.count, ",[{")) > _MOST_PARTS:
        raise ValueError("it is larger than any file of fairseq-lottery")
    try:
        value = json.loads(
            text,
            object_pairs_hook=once,
            parse_constant=constant,
            parse_int=whole,
            parse_float=fraction,
        )
        # JSON can write half of a character, which no file can hold
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    refuse_nested(value, "it", math.inf)
    return value


def refuse_other_than_json(value: Any, what: str) -> None:
    """Refuse what JSON cannot say: a checkpoint's pickle can hold rings, and one list many times.

    Raises:
        LotteryError: another type than JSON's, a number that is none, or more than anything
            of ours has.
    """

    def refuse_other(one: Any) -> None:
        is_dict = isinstance(one, dict) and all(isinstance(name, str) for name in one)
        if not (is_dict or one is None or isinstance(one, (list, tuple, str, bool, int, float))):
            raise LotteryError(f"{what} holds a {type(one).__name__}")
        if isinstance(one, float) and not math.isfinite(one):
            raise LotteryError(f"{what} holds {one}")

    refuse_nested(value, what, _MOST, refuse_other)


def refuse_nested(
    value: Any, what: str, most: float, refuse_other: Optional[Callable[[Any], None]] = None
) -> None:
    """Refuse more than ``most`` values in one, and values that are nested deeply or in a ring.

    Args:
        refuse_other: called with each of them.
    """
    count, level = 1, [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for one in level:
            if refuse_other is not None:
                refuse_other(one)
            if isinstance(one, Namespace):
                inner += vars(one).values()
            elif isinstance(one, Mapping):
                inner += one.values()
            elif isinstance(one, (list, tuple)):
                inner += one
            if count + len(inner) > most:
                raise LotteryError(f"{what} holds more than {most} values")
        count += len(inner)
        level = inner
    if level:
        raise LotteryError(f"{what} is nested too deeply, or holds itself")
