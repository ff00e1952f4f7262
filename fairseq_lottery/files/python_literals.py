"""Allow-list of values that fairseq may evaluate as Python.

fairseq passes some values, such as ``--adam-betas`` and ``--encoder-layers``, to ``eval``. Values
of untrusted files are checked here first.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any, Callable

#: words, numbers and paths: without brackets and quotes, Python cannot call functions
_WORDS = re.compile(r"[\w .,:/=+@%~-]*")
_LITERAL = re.compile(r"[\w .,:/=+@%~()\[\]{}'\"-]{1,1000}")
#: how fairseq writes convolutional layers: ``[(512, 3)] * 9 + [(1024, 3)] * 4``
_LAYERS = r"\[\(\d{1,6}(, ?\d{1,6}){1,2}\)\]( ?\* ?\d{1,3})?"
_CONVOLUTIONS = re.compile(rf"{_LAYERS}( ?\+ ?{_LAYERS}){{0,30}}")
_NUMBERS = re.compile(r"True|False|\d+(,\d+)*")


def is_plain_value(text: str) -> bool:
    """Return whether evaluating ``text`` as Python cannot call functions.

    Allowed are words, numbers, literals of these (tuples, lists and dictionaries, in Python's or in
    JSON's notation), and fairseq's notation for convolutional layers.
    """
    return bool(_WORDS.fullmatch(text) or _CONVOLUTIONS.fullmatch(text)) or _is_literal(text)


def is_numbers(text: str) -> bool:
    """Return whether ``text`` is a truth value or integers, whose size can be compared."""
    return bool(_NUMBERS.fullmatch(text))


def _is_literal(text: str) -> bool:
    if not _LITERAL.fullmatch(text):
        return False
    return any(_is_read_as_plain(text, read) for read in (ast.literal_eval, json.loads))


def _is_read_as_plain(text: str, read: Callable[[str], Any]) -> bool:
    try:
        return _is_plain(read(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    is_text = isinstance(value, str) and _WORDS.fullmatch(value)
    return value is None or isinstance(value, (bool, int, float)) or bool(is_text)
