"""Read JSON files of a workflow's folder into dataclasses, and write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, TypeVar

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_lines, read_text, replacing
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.records.schema import Malformed, parse

T = TypeVar("T")

#: maximum bytes of a file with one JSON value, and of a file with a value per line. The plan of a
#: hundred trainings has 0.8 million; lines suffice for 1,400 trainings with 50 validations each
_LARGEST, _LARGEST_LINES = 1 << 24, 1 << 26


def read_file(
    path: Path, kind: type[T], allow_nan: bool = False, may_be_cut: bool = False
) -> Optional[T]:
    """Return the content of a JSON file as ``kind``, a type for ``schema.parse``; None if missing.

    Args:
        may_be_cut: whether to return None for a truncated file that is not JSON.

    Raises:
        LotteryError: the file cannot be read, or does not contain a ``kind``.
    """
    try:
        with _readable(path):
            text = read_text(path, _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return parse(kind, read_json(text, allow_nan))
    except ValueError as error:
        if may_be_cut and not isinstance(error, Malformed):
            return None
        raise LotteryError(f"{path} is malformed ({error}); delete it") from error


def lines_of(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the JSON value of each nonempty line of a file.

    Raises:
        FileNotFoundError: the file is missing.
        LotteryError: the file cannot be read, or a line is not JSON.
    """
    with _readable(path):
        for number, line in enumerate(read_lines(path, _LARGEST_LINES), 1):
            if not line.strip():
                continue
            try:
                yield number, read_json(line, allow_nan=True)
            except ValueError as error:
                raise LotteryError(f"{path}, line {number} is not JSON ({error})") from error


def write_file(path: Path, content: Any, indent: Optional[int] = None) -> None:
    """Write a JSON file atomically."""
    write_lines(path, [content], indent)


def write_lines(path: Path, lines: Iterable[Any], indent: Optional[int] = None) -> None:
    """Write a file with a JSON value per line atomically."""
    with replacing(path) as temporary:
        text = "".join(json.dumps(line, indent=indent) + "\n" for line in lines)
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise LotteryError(f"{path} cannot be read ({reason})") from error
