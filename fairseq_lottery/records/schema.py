"""JSON as dataclasses: the annotation of each field says which values it may have."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import (
    Annotated,
    Any,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")

#: characters of a text, and of a path
_LONGEST, _LONGEST_PATH = 4096, 1000
#: no training, however long, counts to more
_MOST = 10**15


@dataclass(frozen=True)
class Rule:
    """Which values of a type are valid, in words and as a test, and what they are read as."""

    words: str
    test: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def is_text(value: str) -> bool:
    """Whether a text can be in a table: no control characters, and not too long."""
    if len(value) > _LONGEST:
        return False
    return value.isprintable() or all(unicodedata.category(c) not in ("Cc", "Cs") for c in value)


def one_line(value: str) -> str:
    """Return a text, which may come from several lines of YAML, in one line."""
    return " ".join(value.split())


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    leads_out = path.is_absolute() or ".." in path.parts or not path.parts
    return not leads_out and file.isprintable() and len(file) <= _LONGEST_PATH


def one_of(names: Sequence[str]) -> Rule:
    """Return the rule of texts that are one of ``names``."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def at_least(least: int) -> Rule:
    """Return the rule of integers that are not below ``least``."""
    return Rule(f"an integer from {least}", lambda value: value >= least)


Text = Annotated[str, Rule("a line of text", is_text)]
Line = Annotated[str, Rule("a line of text", lambda text: is_text(one_line(text)), one_line)]
#: a path that stays in the folder of the workflow: stages write and delete there
Inside = Annotated[str, Rule("a path inside its folder", _is_inside)]
Count = Annotated[int, Rule(f"an integer from 0 to {_MOST}", lambda n: 0 <= n <= _MOST)]
Size = Annotated[int, at_least(1)]
Number = Annotated[float, Rule("a finite number", math.isfinite, float)]
Share = Annotated[float, Rule("a share from 0 to 1", lambda share: 0 <= share <= 1)]
#: rounded, because 1 - 0.1 and 0.9 are one row
Sparsity = Annotated[
    float, Rule("a share from 0 to 1", lambda share: 0 <= share <= 1, lambda x: round(float(x), 6))
]
Seconds = Annotated[float, Rule("a number from 0", lambda x: 0 <= x < math.inf, float)]
Positive = Annotated[float, Rule("a number above 0", lambda x: 0 < x < math.inf)]

#: names and numbers that lead to a value
Place = tuple[Union[str, int], ...]

_WORDS = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def short(value: Any) -> str:
    """Return a value as text of less than 80 characters."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


class Malformed(ValueError):
    """A value that its annotation does not allow.

    Attributes:
        place: of the value, as ``("cells", 0, "seed")``; empty for the whole.
        problem: what is wrong with it.
    """

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(f"{dotted(place) or 'it'} {problem}")
        self.place = place
        self.problem = problem


def dotted(place: Place) -> str:
    """Return a place as ``cells[0].seed``."""
    names = (f"[{one}]" if isinstance(one, int) else f".{one[:80]}" for one in place)
    return "".join(names).lstrip(".")


def parse(kind: type[T], value: Any, place: Place = (), strict: bool = False) -> T:
    """Return a value of JSON as ``kind``: a dataclass, a collection, or an annotated type.

    Args:
        place: of the value in its file.
        strict: refuse entries that a dataclass does not have, which are ignored otherwise, and
            null, which stands for an optional entry otherwise.

    Raises:
        Malformed: the value is something else.
    """
    return cast(T, _parse(kind, value, place, strict))


def _parse(kind: Any, value: Any, place: Place, strict: bool) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _parse_object(kind, value, place, strict)
    if origin is Union:  # Optional
        return None if value is None and not strict else _parse(inner[0], value, place, strict)
    if origin is tuple:
        items = _checked(list, value, place)
        return tuple(_parse(inner[0], one, (*place, n), strict) for n, one in enumerate(items))
    if origin is dict:
        return {
            _parse(inner[0], key, place, strict): _parse(inner[1], one, (*place, key), strict)
            for key, one in _checked(dict, value, place).items()
        }
    if origin is Annotated:
        rule = inner[1]
        if _is_of(inner[0], value) and rule.test(value):
            return rule.convert(value)
        raise Malformed(place, f"is {short(value)}, expected {rule.words}")
    return _checked(kind, value, place)


def _parse_object(kind: Any, value: Any, place: Place, strict: bool) -> Any:
    known = _fields_of(kind)
    for name in _checked(dict, value, place):
        if strict and name not in known:
            raise Malformed((*place, name), f"is unknown; choose one of {', '.join(known)}")
    for name, (_, is_needed) in known.items():
        if is_needed and name not in value:
            raise Malformed((*place, name), "is missing")
    return kind(
        **{
            name: _parse(expected, value[name], (*place, name), strict)
            for name, (expected, _) in known.items()
            if name in value
        }
    )


@cache
def _fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Field -> what it may be, and whether it is needed."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING)
        for one in fields(kind)
    }


def _checked(kind: Any, value: Any, place: Place) -> Any:
    if not _is_of(kind, value):
        found = f"is {short(value)}" if place else f"is a {type(value).__name__}"
        raise Malformed(place, f"{found}, expected {_WORDS[kind]}")
    return value


def _is_of(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
