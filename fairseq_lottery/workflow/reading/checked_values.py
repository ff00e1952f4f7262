"""Values out of a configuration that depend on other values, each error with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.records.schema import Malformed, dotted, parse
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.train_flags import Flags

T = TypeVar("T")


class Values:
    """The values of a file.

    Attributes:
        updates: of a training, once known: shares of it become updates.
        pattern: of the scope, once known: N:M has one sparsity only.
    """

    def __init__(self, lines: Lines) -> None:
        """Take values of ``lines``."""
        self.lines = lines
        self.error = lines.error
        self.updates = 0
        self.pattern: Optional[Pattern] = None

    def parsed(self, key: Key, value: Any, kind: type[T]) -> T:
        """A value as a dataclass or a type with a rule."""
        try:
            return parse(kind, value, key, strict=True)
        except Malformed as error:
            raise self.error(error.place, f"{dotted(error.place)} {error.problem}") from error

    def path(self, key: Key, value: str) -> Path:
        """A path, relative to the file's folder."""
        try:
            path = Path(self.lines.path.parent, Path(value).expanduser()).resolve()
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # it may come to be
        except (OSError, RuntimeError, ValueError) as error:  # of a user, or a ring of links
            raise self.error(key, f"{value[:80]!r} is no path ({error})") from error
        return path

    def flags(self, name: str, text: str, own: Mapping[str, str]) -> Flags:
        """A command line.

        Args:
            own: flag that it must not have -> why.
        """
        try:
            flags = Flags.parse(text)
        except LotteryError as error:
            word = str(error).split()[0].strip("'")
            near = "" if word == "a" else word  # of a quote nobody knows where it began
            raise self.error((name,), f"{name}: {error}", near) from error
        for flag in flags.names:
            if flag in own:
                raise self.error((name,), f"{name}: do without {flag}: {own[flag]}", flag)
        for flag in flags.not_plain():
            raise self.error(
                (name,),
                f"{name}: {flag} {flags.get(flag)} is not a plain value, and fairseq may evaluate"
                " it as Python; write words, numbers, or a literal such as '(0.9, 0.98)'",
                flag,
            )
        return flags

    def numbers(self, key: Key, value: Any, kind: type[T]) -> tuple[T, ...]:
        """One value of a kind, or a rising list of them."""
        if not isinstance(value, list):
            return (self.parsed(key, value, kind),)
        if not value:
            raise self.error(key, f"{key[-1]} is empty")
        found: tuple[Any, ...] = self.parsed(key, value, tuple[kind, ...])  # type: ignore[valid-type]
        if any(b <= a for a, b in zip(found, found[1:])):
            raise self.error(key, f"{key[-1]} must rise, each given once")
        return found

    def update(self, key: Key, value: Any) -> int:
        """An update, or a share of the training as ``5%``."""
        share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
        if share and len(share.group(1)) < 20:
            value = round(float(share.group(1)) / 100 * self.updates)
        if type(value) is not int:
            raise self.error(key, f"{value!r} is no update: write 5000, or 5%")
        if not 0 <= value <= self.updates:
            raise self.error(
                key, f"update {value} lies outside the training, 0 to --max-update {self.updates}"
            )
        return value
