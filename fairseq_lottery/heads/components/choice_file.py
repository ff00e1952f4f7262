"""Choices as JSON files: which components are pruned. People read and edit them.

Score files have the same form and are read by the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.files.untrusted_json import read_json, refuse_other_than_json
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask

_FORMAT = "fairseq_lottery parts 1"
#: largest file in bytes: a byte of JSON can take a hundred in memory. The largest Transformers
#: have some 100,000 units, whose scores are 3 MB
_MAX_BYTES = 1 << 24
#: most components of a model, and characters of a module's name
_MAX_COMPONENTS, _MAX_NAME = 1 << 22, 300


def save_choice(
    path: Union[str, Path],
    components: ComponentMask,
    record: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write a choice and a record of how it was made, atomically."""
    save_json(path, {"format": _FORMAT, **components.to_json(), "record": dict(record)}, overwrite)


def load_choice(path: Union[str, Path]) -> tuple[ComponentMask, dict[str, Any]]:
    """Return the choice in a file and its record; see ``stored_content`` for errors."""
    description = "choice of heads and units; make one with fairseq-lottery heads choose"
    with stored_content(path, _FORMAT, description) as (content, anatomy, record):
        return ComponentMask(anatomy, pruned_in(content), str(content.get("mode"))), record


def pruned_in(content: Mapping[str, Any]) -> Any:
    """Return kind -> module -> numbers of pruned components; ``ComponentMask`` checks these.

    Raises:
        LotteryError: ``closed`` is malformed.
    """
    pruned: Any = content.get("closed")
    if not _are_lists(pruned):
        raise LotteryError(
            f"closed must map {', '.join(KINDS)} to module -> list of pruned components"
        )
    return pruned


def save_json(
    path: Union[str, Path], content: Mapping[str, Any], overwrite: bool, indent: Optional[int] = 1
) -> None:
    """Write JSON that people read, atomically; on one line if ``indent`` is None."""
    with replacing(path, overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def names_format(path: Union[str, Path], file_format: str) -> bool:
    """Return whether a file can be read and names a format."""
    try:
        read_stored(path, file_format, "file")
    except LotteryError:
        return False
    return True


def read_stored(path: Union[str, Path], file_format: str, description: str) -> dict[str, Any]:
    """Return the content of an untrusted JSON file.

    Args:
        file_format: the format that the file must name.
        description: what such a file is and how to make one, for the message about another file.

    Raises:
        LotteryError: the file cannot be read, or has another format.
    """
    try:
        content: Any = read_json(read_text(path, _MAX_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != file_format:
        raise LotteryError(f"{path} is not a {description}")
    return content


@contextmanager
def stored_content(
    path: Union[str, Path], file_format: str, description: str
) -> Iterator[tuple[dict[str, Any], Anatomy, dict[str, Any]]]:
    """Yield the content, anatomy and record of a file; errors within the context name the file.

    Args:
        file_format, description: see ``read_stored``.

    Raises:
        LotteryError: as ``read_stored``; or its heads, units or record are malformed.
    """
    content = read_stored(path, file_format, description)
    try:
        record = content.get("record")
        if not isinstance(record, dict):
            raise LotteryError("record is missing")
        # the record of a ticket may have to hold it
        refuse_other_than_json(record, "its record")
        yield content, _anatomy(content), record
    except LotteryError as error:
        raise LotteryError(f"{path} is malformed: {error}") from None


def _anatomy(content: dict[str, Any]) -> Anatomy:
    heads, units = content.get("heads"), content.get("units")
    if not (_are_counts(heads) and _are_counts(units)):
        raise LotteryError("heads and units must map modules to counts")
    assert isinstance(heads, dict) and isinstance(units, dict)
    if sum(heads.values()) + sum(units.values()) > _MAX_COMPONENTS:
        raise LotteryError(f"it has more than {_MAX_COMPONENTS} components")
    return Anatomy(heads, units)


def _are_counts(value: Any) -> bool:
    """Return whether ``value`` maps printable names of modules to counts."""
    return isinstance(value, dict) and all(
        name.isprintable()
        and len(name) <= _MAX_NAME
        and type(count) is int
        and 0 < count <= _MAX_COMPONENTS
        for name, count in value.items()
    )


def _are_lists(value: Any) -> bool:
    """Return whether it is kind -> module -> list; ``ComponentMask`` checks the numbers."""
    kinds = value.values() if isinstance(value, dict) and value.keys() == set(KINDS) else [None]
    return all(
        isinstance(modules, dict) and all(isinstance(one, list) for one in modules.values())
        for modules in kinds
    )
