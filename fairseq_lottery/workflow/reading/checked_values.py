"""Configuration values that depend on other values; every error names its line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import Axis
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.records.schema import Malformed, dotted, parse
from fairseq_lottery.workflow.reading.yaml_lines import Key, Lines
from fairseq_lottery.workflow.trainings.train_flags import Flags

T = TypeVar("T")


class Values:
    """Parser of the values of one configuration file.

    Attributes:
        updates: number of updates of a training, which percentages refer to; 0 until known.
        pattern: N:M pattern of the scope, which fixes the sparsity; None until known.
        data_names: names of all data sets of the file; empty if they have none.
    """

    def __init__(self, lines: Lines) -> None:
        """Read values of ``lines``."""
        self.lines = lines
        self.error = lines.error
        self.updates = 0
        self.pattern: Optional[Pattern] = None
        self.data_names: tuple[str, ...] = ()

    def parse(self, key: Key, value: Any, kind: type[T]) -> T:
        """Return a value as a dataclass or an annotated type."""
        try:
            return parse(kind, value, key, strict=True)
        except Malformed as error:
            raise self.error(error.place, f"{dotted(error.place)} {error.problem}") from error

    def read_path(self, key: Key, value: str) -> Path:
        """Return a path relative to the folder of the file."""
        try:
            path = Path(self.lines.path.parent, Path(value).expanduser()).resolve()
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # it may be created later
        except (OSError, RuntimeError, ValueError) as error:  # unknown user, or a cycle of links
            raise self.error(key, f"{value[:80]!r} is not a path ({error})") from error
        return path

    def read_flags(self, name: str, text: str, forbidden: Mapping[str, str]) -> Flags:
        """Return the flags of a command line.

        Args:
            forbidden: flag that is not allowed -> reason.
        """
        try:
            flags = Flags.parse(text)
        except LotteryError as error:
            word = str(error).split()[0].strip("'")
            near = "" if word == "a" else word  # where an unclosed quote begins is unknown
            raise self.error((name,), f"{name}: {error}", near) from error
        for flag in flags.names:
            if flag in forbidden:
                raise self.error((name,), f"{name}: remove {flag}: {forbidden[flag]}", flag)
        for flag in flags.evaluable_names():
            raise self.error(
                (name,),
                f"{name}: {flag} {flags.get(flag)} is not a plain value, and fairseq may evaluate"
                " it as Python; write words, numbers, or a literal such as '(0.9, 0.98)'",
                flag,
            )
        return flags

    def read_name(self, key: Key, axis: Axis, value: Any) -> str:
        """Return a name of an axis of options.

        The text of the file is the name: YAML parses the scope 2:4 as a number.
        """
        name = self.lines.text_at(key) or value
        try:
            axis.refuse_unknown(name)
        except LotteryError as error:
            raise self.error(key, str(error)) from error
        return str(name)

    def read_numbers(self, key: Key, value: Any, kind: type[T]) -> tuple[T, ...]:
        """Return one value, or a strictly increasing list of values."""
        if not isinstance(value, list):
            return (self.parse(key, value, kind),)
        if not value:
            raise self.error(key, f"{key[-1]} is empty; give at least one value")
        numbers: tuple[Any, ...] = self.parse(key, value, tuple[kind, ...])  # type: ignore[valid-type]
        if any(b <= a for a, b in zip(numbers, numbers[1:])):
            raise self.error(key, f"{key[-1]} must increase, each value once")
        return numbers

    def read_update(self, key: Key, value: Any) -> int:
        """Return an update, which may be a percentage of the training, such as ``5%``."""
        share = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
        if share and len(share.group(1)) < 20:
            value = round(float(share.group(1)) / 100 * self.updates)
        if type(value) is not int:
            raise self.error(
                key, f"{dotted(key)} is {value!r}, expected an update; write 5000, or 5%"
            )
        if not 0 <= value <= self.updates:
            raise self.error(
                key,
                f"{dotted(key)}: update {value} is out of range (0 to --max-update {self.updates})",
            )
        return value
