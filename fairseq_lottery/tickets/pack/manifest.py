"""Members that an archive may contain, and the manifest with their sizes and hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats import dictionaries
from fairseq_lottery.formats.entry_checks import count, entries, every, refuse
from fairseq_lottery.formats.ticket import Ticket
from fairseq_lottery.tickets.pack import subword_files
from fairseq_lottery.tickets.pack.train_command import DATA_VALUE, TICKET

FORMAT = 1
MANIFEST, RECORD, COMMAND, README = "manifest.json", "record.json", "command.txt", "README.txt"
SUBWORDS = "subwords"
#: maximum compression ratio of a member; sign-only tickets reach 6, deflate at most 1032
LARGEST_RATIO = 100

_WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_SUBWORDS = re.compile(rf"{SUBWORDS}/{_WORD}")
_DICTIONARY = re.compile(rf"dict(\.{DATA_VALUE})?\.txt")
#: maximum bytes of each member. The reader of tickets has its own limit. The record has the highest
#: limit, because it describes every matrix
_LARGEST: dict[str, Optional[int]] = {
    **{TICKET: None, RECORD: 1 << 24},
    **dict.fromkeys((MANIFEST, COMMAND, README), 1 << 20),
}


def is_subwords(name: str) -> bool:
    """Return whether a member is a file in the folder of subword files."""
    return _SUBWORDS.fullmatch(name) is not None


def is_member(name: str) -> bool:
    """Return whether an archive may contain ``name``; such a name stays inside the folder."""
    is_ours = name in _LARGEST and name != MANIFEST
    return is_ours or is_subwords(name) or _DICTIONARY.fullmatch(name) is not None


def largest(name: str) -> Optional[int]:
    """Return the maximum bytes of a member; None for the ticket, whose reader limits it."""
    return subword_files.LARGEST if is_subwords(name) else _LARGEST.get(name, dictionaries.LARGEST)


def to_json(value: Any) -> bytes:
    """Return indented JSON with sorted keys."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def describe(ticket: Ticket) -> dict[str, Any]:
    """Return the record's entries about the ticket, which unpacking verifies."""
    signature = ticket.record["signature"]
    return {"digest": ticket.digest(), "signature": signature, "ticket": ticket.record}


def write_manifest(members: Mapping[str, bytes]) -> bytes:
    """Return the manifest: size in bytes and SHA-256 of every other member."""
    rows = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    return to_json({"format": FORMAT, "members": rows})


def _sha256(value: Any, name: str, size: int) -> None:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        refuse(value, name)


_ROW = entries({"bytes": count, "sha256": _sha256}, ("bytes", "sha256"))
_MANIFEST = entries({"format": count, "members": every(_ROW)}, ("format", "members"))


def read_manifest(content: bytes) -> dict[str, tuple[int, str]]:
    """Return name -> size in bytes and SHA-256.

    Raises:
        LotteryError: the manifest is malformed, or its format version is not ``FORMAT``.
    """
    try:
        listing = read_json(content.decode())
        _MANIFEST(listing, MANIFEST, len(content))
    except ValueError as error:
        raise LotteryError(f"its {MANIFEST} is malformed ({error})") from None
    if listing["format"] != FORMAT:
        raise LotteryError(
            f"its format is {listing['format']}, expected {FORMAT}; update fairseq-lottery"
        )
    return {name: (row["bytes"], row["sha256"]) for name, row in listing["members"].items()}
