"""Values out of a configuration, taken one by one and checked, each error with its line."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import Axis
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.train_flags import Flags


def has_only(text: str, places: tuple[str, ...]) -> bool:
    """Whether a text has no places to be filled in but these, as they are: ``{name}``."""
    try:
        found = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        name is None or (name in places and not spec and conversion is None)
        for _, name, spec, conversion in found
    )


class Values:
    """The values of a file; what nobody has taken in the end is unknown.

    Attributes:
        left: what is not taken yet.
        updates: of a training, once known: shares of it become updates.
        pattern: of the scope, once known: N:M has one sparsity only.
    """

    def __init__(self, lines: Lines) -> None:
        """Take values of ``lines``."""
        self.lines = lines
        self.left: dict[str, Any] = dict(lines.values)
        self.updates = 0
        self.pattern: Optional[Pattern] = None

    def take(self, name: str, kind: Any, default: Any = None, required: bool = False) -> Any:
        """The value of a key of the file's top, checked for its kind."""
        if name not in self.left:
            if required:
                raise self.lines.error((), f"{name} is missing")
            return default
        return self.typed((name,), self.left.pop(name), kind)

    def typed(self, key: Key, value: Any, kind: Any) -> Any:
        """A value, if it is of a kind."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if kind is float and number:
            return float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = {str: "a text", int: "a whole number", float: "a number", list: "a list",
                      dict: "a mapping"}[kind]  # fmt: skip
            raise self.lines.error(key, f"{key[-1]} {value!r} must be {wanted}")
        return value

    def path(self, key: Key, value: str) -> Path:
        """A path, relative to the file's folder."""
        try:
            path = Path(self.lines.path.parent, Path(value).expanduser()).resolve()
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # it may come to be
        except (OSError, RuntimeError, ValueError) as error:  # of a user, or a ring of links
            raise self.lines.error(key, f"{value[:80]!r} is no path ({error})") from error
        return path

    def flags(self, name: str, own: Mapping[str, str], required: bool = False) -> Flags:
        """A command line.

        Args:
            own: flag that it must not have -> why.
        """
        text = self.take(name, str, "", required)
        try:
            flags = Flags.parse(text)
        except LotteryError as error:
            word = str(error).split()[0].strip("'")
            near = "" if word == "a" else word  # of a quote nobody knows where it began
            raise self.lines.error((name,), f"{name}: {error}", near) from error
        for flag in flags.names:
            if flag in own:
                raise self.lines.error((name,), f"{name}: do without {flag}: {own[flag]}", flag)
        for flag in flags.not_plain():
            raise self.lines.error(
                (name,),
                f"{name}: {flag} {flags.get(flag)} is not a plain value, and fairseq may evaluate"
                " it as Python; write words, numbers, or a literal such as '(0.9, 0.98)'",
                flag,
            )
        return flags

    def numbers(self, key: Key, value: Any, one: Callable[[Key, Any], Any]) -> tuple[Any, ...]:
        """One value or a rising list of them."""
        values = value if isinstance(value, list) else [value]
        if not values:
            raise self.lines.error(key, f"{key[-1]} is empty")
        found = tuple(one((*key, n), item) for n, item in enumerate(values))
        if any(b <= a for a, b in zip(found, found[1:])):
            raise self.lines.error(key, f"{key[-1]} must rise, each given once")
        return found

    def sparsity(self, key: Key, value: Any) -> float:
        """A share of the weights, between 0 and 1."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 < value < 1:
            raise self.lines.error(
                key, f"sparsity {value!r} is not between 0 and 1; 0.9 prunes 90 % of the weights"
            )
        return float(value)

    def seed(self, key: Key, value: Any) -> int:
        """A seed."""
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.lines.error(key, f"seed {value!r} must be a whole number, 0 or more")
        return value

    def update(self, key: Key, value: Any) -> int:
        """An update, or a share of the training as ``5%``."""
        share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
        if share and len(share.group(1)) < 20:
            value = round(float(share.group(1)) / 100 * self.updates)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.lines.error(key, f"{value!r} is no update: write 5000, or 5%")
        if not 0 <= value <= self.updates:
            raise self.lines.error(
                key, f"update {value} lies outside the training, 0 to --max-update {self.updates}"
            )
        return value

    def named(self, axis: Axis, key: Key, value: Any) -> str:
        """A name of an axis, or what else it takes."""
        try:
            axis.refuse_unknown(value)
        except LotteryError as error:
            raise self.lines.error(key, str(error)) from error
        return str(value)

    def choice(self, key: Key, value: Any, choices: Iterable[str]) -> str:
        """One of several names."""
        names = list(choices)
        if value not in names:
            raise self.lines.error(
                key, f"there is no {key[-1]} {value!r}; choose one of {', '.join(names)}"
            )
        return str(value)
