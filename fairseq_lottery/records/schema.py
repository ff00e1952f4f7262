"""Parse JSON into dataclasses; the annotation of a field defines its valid values."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

#: maximum characters of a text, and of a path
_LONGEST, _LONGEST_PATH = 4096, 1000
#: larger than any count of a training
_MOST = 10**15


@dataclass(frozen=True)
class Rule:
    """Valid values of a type: their description, a test for them, and their conversion."""

    words: str
    test: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def is_text(value: str) -> bool:
    """Return whether a text fits a table: it has no control characters and is not too long."""
    if len(value) > _LONGEST:
        return False
    return value.isprintable() or all(unicodedata.category(c) not in ("Cc", "Cs") for c in value)


def one_line(value: str) -> str:
    """Return a text of one or several lines in one line."""
    return " ".join(value.split())


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    leads_out = path.is_absolute() or ".." in path.parts or not path.parts
    return not leads_out and file.isprintable() and len(file) <= _LONGEST_PATH


def one_of(names: Sequence[str]) -> Rule:
    """Return a rule that accepts the texts in ``names``."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def at_least(least: int) -> Rule:
    """Return a rule that accepts integers from ``least`` on."""
    return Rule(f"an integer from {least}", lambda value: value >= least)


Text = Annotated[str, Rule("a line of text", is_text)]
Line = Annotated[str, Rule("a line of text", lambda text: is_text(one_line(text)), one_line)]
#: a path inside the folder of the workflow, where stages write and delete files
Inside = Annotated[str, Rule("a path inside its folder", _is_inside)]
Count = Annotated[int, Rule(f"an integer from 0 to {_MOST}", lambda n: 0 <= n <= _MOST)]
Size = Annotated[int, at_least(1)]
Number = Annotated[float, Rule("a finite number", math.isfinite, float)]
Share = Annotated[float, Rule("a share from 0 to 1", lambda share: 0 <= share <= 1)]
#: rounded, so that 1 - 0.1 and 0.9 are the same row
Sparsity = Annotated[
    float, Rule("a share from 0 to 1", lambda share: 0 <= share <= 1, lambda x: round(float(x), 6))
]
Seconds = Annotated[float, Rule("a number from 0", lambda x: 0 <= x < math.inf, float)]
Positive = Annotated[float, Rule("a number above 0", lambda x: 0 < x < math.inf)]

#: names and indices of a value in its file
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
    """Return a value as text of at most 80 characters."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:77]}..."


class Malformed(ValueError):
    """Error for a value that is not valid for its annotation.

    Attributes:
        place: place of the value, such as ``("cells", 0, "seed")``; empty for the root.
        problem: description of the problem.
    """

    def __init__(self, place: Place, problem: str) -> None:
        super().__init__(f"{dotted(place) or 'it'} {problem}")
        self.place = place
        self.problem = problem


def dotted(place: Place) -> str:
    """Return a place as text, such as ``cells[0].seed``."""
    names = (f"[{step}]" if isinstance(step, int) else f".{step[:80]}" for step in place)
    return "".join(names).lstrip(".")


def parse(kind: type[T], value: Any, place: Place = (), strict: bool = False) -> T:
    """Return a JSON value as ``kind``: a dataclass, a collection, or an annotated type.

    Args:
        place: place of the value in its file.
        strict: whether to refuse unknown entries of dataclasses, and null for optional entries.
            Otherwise unknown entries are ignored, and null is None.

    Raises:
        Malformed: the value is not valid for ``kind``.
    """
    return cast(T, _parse(kind, value, place, strict))


def _parse(kind: Any, value: Any, place: Place, strict: bool) -> Any:
    is_object, origin, inner = _form_of(kind)
    if is_object:
        return _parse_object(kind, value, place, strict)
    if origin is Union:  # Optional
        return None if value is None and not strict else _parse(inner[0], value, place, strict)
    if origin is tuple:
        items = _validated(list, value, place)
        return tuple(_parse(inner[0], v, (*place, n), strict) for n, v in enumerate(items))
    if origin is dict:
        return {
            _parse(inner[0], key, place, strict): _parse(inner[1], item, (*place, key), strict)
            for key, item in _validated(dict, value, place).items()
        }
    if origin is Annotated:
        rule = inner[1]
        if _is_of(inner[0], value) and rule.test(value):
            return rule.convert(value)
        raise Malformed(place, f"is {short(value)}, expected {rule.words}")
    return _validated(kind, value, place)


def _parse_object(kind: Any, value: Any, place: Place, strict: bool) -> Any:
    expected = _fields_of(kind)
    for name in _validated(dict, value, place):
        if strict and name not in expected:
            raise Malformed((*place, name), f"is unknown; choose one of {', '.join(expected)}")
    for name, (_, is_required) in expected.items():
        if is_required and name not in value:
            raise Malformed((*place, name), "is missing")
    return kind(
        **{
            name: _parse(field_type, value[name], (*place, name), strict)
            for name, (field_type, _) in expected.items()
            if name in value
        }
    )


@cache
def _form_of(kind: Any) -> tuple[bool, Any, tuple[Any, ...]]:
    """Return whether a type is a dataclass, its origin, and its arguments."""
    return is_dataclass(kind), get_origin(kind), get_args(kind)


@cache
def _fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Return field -> its type, and whether it is required."""
    hints = get_type_hints(kind, include_extras=True)
    return {
        f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    }


def _validated(kind: Any, value: Any, place: Place) -> Any:
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
