"""YAML files with the line of every value, for error messages."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import yaml

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text

Key = tuple[Union[str, int], ...]

#: maximum bytes of a file, values, and nesting, all after aliases are expanded: a few lines of
#: nested aliases may expand to billions of values
_LARGEST, _MOST, _DEEPEST = 1 << 20, 100_000, 30
#: maximum characters of a message, and of a number or date: YAML 1.1 parses 1:1:1 as hours,
#: minutes and seconds, and takes a minute for a megabyte of them
_LONGEST = 1000
_TEXT = "tag:yaml.org,2002:str"


class Lines:
    """The values of a configuration file, and the line of each.

    Args:
        path: a YAML file whose top is a mapping.

    Raises:
        LotteryError: the file is missing, invalid or not a mapping, or has a key twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Key, int] = {}
        self._texts: dict[Key, str] = {}
        self._places: Mapping[str, Key] = {}
        try:
            text = read_text(path, _LARGEST)
        except FileNotFoundError:
            raise LotteryError(f"there is no file {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LotteryError(f"{path} cannot be read: {reason}") from error
        self._text = text.splitlines()
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            self._note(root, ())
            self.values: Any = loader.construct_document(root) if root is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise LotteryError(f"{path}{line}: invalid YAML ({error.problem})") from error
        except LotteryError:
            raise
        except RecursionError:
            raise LotteryError(f"{path}: invalid YAML (it is nested too deeply)") from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
            raise LotteryError(f"{path}: invalid YAML ({error})") from error
        except (LookupError, AttributeError, ArithmeticError) as error:  # as !!bool maybe
            raise LotteryError(f"{path}: invalid YAML (a value does not match its tag)") from error
        if not isinstance(self.values, dict):
            raise LotteryError(f"{path}: expected a mapping; write 'key: value' lines")
        self._refuse_unsupported(self.values, ())

    def error(self, key: Key, message: str, near: str = "") -> LotteryError:
        """Return the error ``message`` with the line of the value at ``key``.

        Args:
            near: a word in the value, to find its line if the value has several.
        """
        key = self._place(key)
        while key and key not in self._lines:
            key = key[:-1]
        line = self._lines.get(key, 1)
        if near:
            after = enumerate(self._text[line - 1 :], start=line)
            line = next((n for n, text in after if near in text.replace("=", " ").split()), line)
        if len(message) > _LONGEST:  # it quotes a long value
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        return LotteryError(f"{self.path}, line {line}: {message}")

    def text_at(self, key: Key) -> str:
        """Return the text of a scalar without quotes; empty for a list or a mapping.

        YAML 1.1 parses ``2:4`` without quotes as 124 seconds.
        """
        return self._texts.get(self._place(key), "")

    def with_values(self, values: Mapping[str, Any], places: Mapping[str, Key]) -> Lines:
        """Return the same file with other top-level values.

        Args:
            places: top-level key -> its place in the file, for values that are elsewhere.
        """
        changed = copy.copy(self)
        changed.values, changed._places = dict(values), places
        return changed

    def _place(self, key: Key) -> Key:
        if key and key[0] in self._places:
            return (*self._places[str(key[0])], *key[1:])
        return key

    def _note(self, node: Any, key: Key) -> None:
        if len(self._lines) > _MOST or len(key) > _DEEPEST:
            problem = "is nested too deeply" if len(key) > _DEEPEST else f"exceeds {_MOST} values"
            raise LotteryError(f"{self.path} {problem} after its aliases are expanded")
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    line = name.start_mark.line + 1
                    message = "invalid YAML (a key is not a scalar)"
                    raise LotteryError(f"{self.path}, line {line}: {message}")
                self._refuse_long(name)
                inner = (*key, name.value)
                is_repeated = inner in self._lines
                self._lines[inner] = name.start_mark.line + 1
                if is_repeated:
                    raise self.error(inner, f"{name.value} is given twice; remove one")
                self._note(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self._lines[(*key, number)] = value.start_mark.line + 1
                self._note(value, (*key, number))
        elif isinstance(node, yaml.ScalarNode):
            self._refuse_long(node)
            self._texts[key] = node.value

    def _refuse_long(self, node: Any) -> None:
        """Raise an error for a very long number or date before YAML computes it."""
        if node.tag != _TEXT and len(node.value) > _LONGEST:
            raise LotteryError(
                f"{self.path}, line {node.start_mark.line + 1}: a number of {len(node.value)}"
                " characters is too long; put quotes around it if it is a text"
            )

    def _refuse_unsupported(self, value: Any, key: Key) -> None:
        """Raise an error for a value that JSON files or tables cannot hold."""
        if isinstance(value, dict):
            for name, inner in value.items():
                if not isinstance(name, str):
                    message = f"key {name!r} is not a text; put quotes around it"
                    raise self.error((*key, str(name)), message)
                self._refuse_unsupported(inner, (*key, name))
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self._refuse_unsupported(inner, (*key, number))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self.error(key, "a number exceeds 64 bits; write a smaller one")
        elif isinstance(value, float) and not math.isfinite(value):
            raise self.error(key, f"{value} is not a finite number")
        elif isinstance(value, str) and not _is_text(value):
            raise self.error(key, f"text {value[:40]!r} has unprintable characters; remove them")
        elif not (value is None or isinstance(value, (str, int, float))):
            kind = type(value).__name__
            raise self.error(key, f"type {kind} is not supported; put quotes around the value")


def _is_text(value: str) -> bool:
    return all(c.isprintable() or c in "\n\t" or c.isspace() for c in value)
