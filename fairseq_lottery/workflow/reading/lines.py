"""YAML whose every value knows its line, so that a mistake can be shown where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

import yaml

from fairseq_lottery.errors import LotteryError

Key = tuple[Union[str, int], ...]


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
        try:
            text = path.read_text(encoding="utf-8")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.values: Any = yaml.safe_load(text)
        except FileNotFoundError:
            raise LotteryError(f"there is no file {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise LotteryError(f"{path} cannot be read: {error}") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f", line {mark.line + 1}" if mark else ""
            raise LotteryError(f"{path}{where}: no YAML ({error.problem})") from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
            raise LotteryError(f"{path}: no YAML ({error})") from error
        self._text = text.splitlines()
        self._note(root, ())
        if not isinstance(self.values, dict):
            raise LotteryError(f"{path}: a configuration is a list of 'key: value' lines")

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
        return LotteryError(f"{self.path}, line {line}: {message}")

    def _note(self, node: Any, key: Key) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
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
