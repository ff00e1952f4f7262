"""YAML whose every value knows its line, so that a mistake can be shown where it stands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Union

import yaml

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text

Key = tuple[Union[str, int], ...]

#: of a configuration in bytes, and of its values once every alias stands for what it names:
#: a few lines of aliases of aliases are otherwise billions of values
_LARGEST, _MOST, _DEEPEST = 1 << 20, 100_000, 30
#: characters of a complaint, and of a value that is to be more than a text: YAML 1.1 takes
#: 1:1:1 for hours, minutes and seconds, and a megabyte of them is a minute of multiplying
_LONGEST = 1000
_TEXT = "tag:yaml.org,2002:str"


class Lines:
    """A configuration file: its values, and the line of each.

    Args:
        path: a YAML file whose top is a mapping.

    Raises:
        LotteryError: missing, no YAML, no mapping, or a key given twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[Key, int] = {}
        self._written: dict[Key, str] = {}
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
            where = f", line {mark.line + 1}" if mark else ""
            raise LotteryError(f"{path}{where}: no YAML ({error.problem})") from error
        except LotteryError:
            raise
        except RecursionError:
            raise LotteryError(f"{path}: no YAML (it is nested too deeply)") from None
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
            raise LotteryError(f"{path}: no YAML ({error})") from error
        except (LookupError, AttributeError, ArithmeticError) as error:  # as !!bool maybe
            raise LotteryError(f"{path}: no YAML (a value is not what its tag says)") from error
        if not isinstance(self.values, dict):
            raise LotteryError(f"{path}: a configuration is a list of 'key: value' lines")
        self._refuse_strange(self.values, ())

    def error(self, key: Key, message: str, near: str = "") -> LotteryError:
        """What is wrong with the value at ``key``, with its line.

        Args:
            near: a word of the value, to find its line in a text of several.
        """
        while key and key not in self._lines:
            key = key[:-1]
        line = self._lines.get(key, 1)
        if near:
            after = enumerate(self._text[line - 1 :], start=line)
            line = next((n for n, text in after if near in text.replace("=", " ").split()), line)
        if len(message) > _LONGEST:  # it quotes a value that somebody has pasted
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        return LotteryError(f"{self.path}, line {line}: {message}")

    def written(self, key: Key) -> str:
        """The text of a single value, without its quotes; empty for a list or a mapping.

        YAML 1.1 takes ``2:4`` for minutes and seconds, 124, unless there are quotes.
        """
        return self._written.get(key, "")

    def _note(self, node: Any, key: Key) -> None:
        if len(self._lines) > _MOST or len(key) > _DEEPEST:
            what = "is nested too deeply" if len(key) > _DEEPEST else f"has over {_MOST} values"
            raise LotteryError(f"{self.path} {what}, counting what its aliases stand for")
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    line = name.start_mark.line + 1
                    raise LotteryError(f"{self.path}, line {line}: no YAML (a key is no name)")
                self._refuse_long(name)
                inner = (*key, name.value)
                twice = inner in self._lines
                self._lines[inner] = name.start_mark.line + 1
                if twice:
                    raise self.error(inner, f"{name.value} is given twice")
                self._note(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                self._lines[(*key, number)] = value.start_mark.line + 1
                self._note(value, (*key, number))
        elif isinstance(node, yaml.ScalarNode):
            self._refuse_long(node)
            self._written[key] = node.value

    def _refuse_long(self, node: Any) -> None:
        """Refuse a number or a date of thousands of characters before it is computed."""
        if node.tag != _TEXT and len(node.value) > _LONGEST:
            raise LotteryError(
                f"{self.path}, line {node.start_mark.line + 1}: a value of {len(node.value)}"
                " characters is no number; put quotes around it if it is a text"
            )

    def _refuse_strange(self, value: Any, key: Key) -> None:
        """Refuse dates, bytes and sets, endless numbers, and what no file or table can hold."""
        if isinstance(value, dict):
            for name, inner in value.items():
                if not isinstance(name, str):
                    raise self.error((*key, str(name)), f"the key {name!r} has to be a text")
                self._refuse_strange(inner, (*key, name))
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self._refuse_strange(inner, (*key, number))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise self.error(key, "a number is beyond 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise self.error(key, f"{value} is no number to go by")
        elif isinstance(value, str) and not _is_text(value):
            raise self.error(key, f"the text {value[:40]!r} holds characters that cannot be shown")
        elif not (value is None or isinstance(value, (str, int, float))):
            kind = type(value).__name__
            raise self.error(key, f"a {kind} has no meaning here; put quotes around it")


def _is_text(value: str) -> bool:
    return all(c.isprintable() or c in "\n\t" or c.isspace() for c in value)
