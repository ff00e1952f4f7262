"""Choices of open parts as JSON files, which people read and change; scores are read like them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, TypeVar, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.files.untrusted_json import read_json, refuse_other_than_json
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.parts import Parts

_FORMAT = "fairseq_lottery parts 1"
#: of a file in bytes: a few of JSON can be a hundred in memory. The largest Transformers have
#: some 100,000 units, whose scores are 3 MB
_LARGEST = 1 << 24
#: of a model's parts, and of the name of a module in characters
_MOST, _LONGEST = 1 << 22, 300

Content = TypeVar("Content")


def save_parts(
    path: Union[str, Path], parts: Parts, record: Mapping[str, Any], overwrite: bool = False
) -> None:
    """Write the choice and a record of how it was made, atomically."""
    save_json(path, {"format": _FORMAT, **parts.to_json(), "record": dict(record)}, overwrite)


def load_parts(path: Union[str, Path]) -> tuple[Parts, dict[str, Any]]:
    """Return the choice in a file, and its record; see ``load_stored``."""

    def parse(anatomy: Anatomy, found: dict[str, Any]) -> Parts:
        closed: Any = found.get("closed")
        if not _are_lists(closed):
            raise LotteryError("what it closes are no numbers")
        return Parts(anatomy, closed, str(found.get("mode")))

    what = "choice of heads and units; make one with fairseq-lottery heads choose"
    return load_stored(path, _FORMAT, what, parse)


def save_json(path: Union[str, Path], content: Mapping[str, Any], overwrite: bool) -> None:
    """Write JSON that people read, atomically."""
    with replacing(path, overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_stored(path: Union[str, Path], of: str, what: str) -> dict[str, Any]:
    """Return the content of a file that anybody may have written.

    Args:
        of: the format that it has to name.
        what: what such a file is and how one is made, for the sentence about another file.

    Raises:
        LotteryError: there is no such file, or it is none of these.
    """
    try:
        found: Any = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read: {reason}") from error
    if not isinstance(found, dict) or found.get("format") != of:
        raise LotteryError(f"{path} is no {what}")
    return found


def load_stored(
    path: Union[str, Path],
    of: str,
    what: str,
    parse: Callable[[Anatomy, dict[str, Any]], Content],
) -> tuple[Content, dict[str, Any]]:
    """Return what ``parse`` makes of a file and its model's anatomy, and the file's record.

    Args:
        of, what: see ``read_stored``.

    Raises:
        LotteryError: see ``read_stored``; its heads, units or record are malformed; ``parse``.
    """
    found = read_stored(path, of, what)
    try:
        content = parse(_anatomy(found), found)
        record = found.get("record")
        if not isinstance(record, dict):
            raise LotteryError("it has no record")
        # the record of a ticket may have to hold it
        refuse_other_than_json(record, "its record")
        return content, record
    except LotteryError as error:
        raise LotteryError(f"{path} is damaged: {error}") from None


def _anatomy(found: dict[str, Any]) -> Anatomy:
    heads, units = found.get("heads"), found.get("units")
    if not (_are_counts(heads) and _are_counts(units)):
        raise LotteryError("its heads or units are no numbers")
    assert isinstance(heads, dict) and isinstance(units, dict)
    if sum(heads.values()) + sum(units.values()) > _MOST:
        raise LotteryError("it has too many parts")
    return Anatomy(heads, units)


def _are_counts(found: Any) -> bool:
    """Return whether it is module -> number; a sentence and a grid can show the module's name."""
    return isinstance(found, dict) and all(
        name.isprintable() and len(name) <= _LONGEST and type(count) is int and 0 < count <= _MOST
        for name, count in found.items()
    )


def _are_lists(found: Any) -> bool:
    """Return whether it is kind -> module -> list; which numbers may be in it, ``Parts`` says."""
    kinds = found.values() if isinstance(found, dict) and found.keys() == set(KINDS) else [None]
    return all(
        isinstance(modules, dict) and all(isinstance(one, list) for one in modules.values())
        for modules in kinds
    )
