"""What anybody may have written: JSON read without second thoughts, and a limit of all readers."""

from __future__ import annotations

import json
from typing import Any

#: whole numbers beyond 64 bits are none that anything here counts
_LARGEST = 2**63
#: of a tensor: torch calculates with no more
MOST_DIMENSIONS = 64


def read_json(text: str, allow_nan: bool = False) -> Any:
    """Read JSON of which no two readers could disagree.

    Args:
        allow_nan: whether numbers may be NaN or infinite, as Python writes them.

    Raises:
        ValueError: no JSON, nested too deeply, a name given twice, a number that is none or
            is beyond 64 bits, or half a character.
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
    return value
