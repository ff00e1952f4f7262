"""A choice of open parts as a JSON file, which people read and change as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.heads.components.parts import MODES, Parts
from fairseq_lottery.heads.components.untrusted_parts import (
    anatomy_in,
    is_name,
    read_stored,
    record_in,
)

_FORMAT = "fairseq_lottery parts 1"


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
    what = "choice of heads and units; make one with fairseq-lottery heads choose"
    found = read_stored(path, _FORMAT, what)
    try:
        closed, mode = found.get("closed"), found.get("mode")
        if not _are_numbers(closed):
            raise LotteryError("what it closes are no numbers")
        if not isinstance(mode, str) or mode not in MODES:
            raise LotteryError(f"there is no mode {mode!r}"[:100])
        assert isinstance(closed, dict)
        return Parts(anatomy_in(found), closed, mode), record_in(found)
    except LotteryError as error:
        raise LotteryError(f"{path} is damaged: {error}") from None


def _are_numbers(found: Any) -> bool:
    """Whether it is kind -> module -> numbers; which of them exist, ``Parts`` says."""
    return (
        isinstance(found, dict)
        and set(found) == set(KINDS)
        and all(isinstance(modules, dict) for modules in found.values())
        and all(
            is_name(name) and isinstance(numbers, list) and all(type(n) is int for n in numbers)
            for modules in found.values()
            for name, numbers in modules.items()
        )
    )
