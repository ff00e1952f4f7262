"""A choice of open parts as a JSON file, which people read and change as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.strict import read_json
from fairseq_lottery.structured.anatomy import KINDS, Anatomy
from fairseq_lottery.structured.parts import Parts

_FORMAT = "fairseq_lottery parts 1"
#: of a file in bytes, and of a model's parts; the largest Transformers have some 100,000 units
_LARGEST, _MOST = 1 << 26, 1 << 22


def save_parts(
    path: Union[str, Path], parts: Parts, record: Mapping[str, Any], overwrite: bool = False
) -> None:
    """Write the choice and a record of how it was made, atomically."""
    text = json.dumps({"format": _FORMAT, **parts.to_json(), "record": dict(record)}, indent=1)
    with replacing(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load_parts(path: Union[str, Path]) -> tuple[Parts, dict[str, Any]]:
    """The choice in a file, and its record.

    Raises:
        LotteryError: there is no such file, or it is none of these.
    """
    try:
        found: Any = read_json(read_text(path, _LARGEST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"the parts in {path} cannot be read: {reason}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT:
        raise LotteryError(
            f"{path} is no choice of heads and units; make one with fairseq-lottery heads choose"
        )
    said: dict[str, Any] = dict.fromkeys(("heads", "units", "closed", "mode", "record"))
    said.update(found)
    heads, units, record = said["heads"], said["units"], said["record"]
    if not (_are_counts(heads) and _are_counts(units) and _are_numbers(said["closed"])):
        raise LotteryError(f"{path} is damaged: its heads, units or what is closed are no numbers")
    if sum(heads.values()) + sum(units.values()) > _MOST or not isinstance(record, dict):
        raise LotteryError(f"{path} is damaged: it has too many parts, or no record")
    try:
        return Parts(Anatomy(heads, units), said["closed"], said["mode"]), record
    except LotteryError as error:
        raise LotteryError(f"{path} is damaged: {error}") from None


def _are_counts(found: Any) -> bool:
    return isinstance(found, dict) and all(
        name.isprintable() and type(count) is int and 0 < count <= _MOST
        for name, count in found.items()
    )


def _are_numbers(found: Any) -> bool:
    """Whether it is kind -> module -> numbers; which of them exist, ``Parts`` says."""
    return (
        isinstance(found, dict)
        and set(found) == set(KINDS)
        and all(isinstance(modules, dict) for modules in found.values())
        and all(isinstance(n, list) for modules in found.values() for n in modules.values())
    )
