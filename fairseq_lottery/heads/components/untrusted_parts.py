"""What files of choices and of scores have in common: JSON that anybody may have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text
from fairseq_lottery.files.untrusted_json import read_json, refuse_other_than_json
from fairseq_lottery.heads.components.anatomy import Anatomy

#: of a file in bytes: a few of JSON can be a hundred in memory. The largest Transformers have
#: some 100,000 units, whose scores are 3 MB
_LARGEST = 1 << 24
#: of a model's parts, and of the name of a module in characters
_MOST, _LONGEST = 1 << 22, 300


def read_stored(path: Union[str, Path], of: str, what: str) -> dict[str, Any]:
    """The content of a file that says its format.

    Args:
        of: the format.
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


def anatomy_in(found: dict[str, Any]) -> Anatomy:
    """The heads and units of the model that a file is of.

    Raises:
        LotteryError: they are none, or more than any model has.
    """
    heads, units = found.get("heads"), found.get("units")
    if not (_are_counts(heads) and _are_counts(units)):
        raise LotteryError("its heads or units are no numbers")
    assert isinstance(heads, dict) and isinstance(units, dict)
    if sum(heads.values()) + sum(units.values()) > _MOST:
        raise LotteryError("it has too many parts")
    return Anatomy(heads, units)


def _are_counts(found: Any) -> bool:
    return isinstance(found, dict) and all(
        is_name(name) and type(count) is int and 0 < count <= _MOST for name, count in found.items()
    )


def is_name(name: str) -> bool:
    """Whether a module may be called so: a sentence and a grid can show it."""
    return name.isprintable() and len(name) <= _LONGEST


def record_in(found: dict[str, Any]) -> dict[str, Any]:
    """How the file was made, which the record of a ticket may have to hold.

    Raises:
        LotteryError: it is none, or larger or deeper than any.
    """
    record = found.get("record")
    if not isinstance(record, dict):
        raise LotteryError("it has no record")
    refuse_other_than_json(record, "its record")
    return record
