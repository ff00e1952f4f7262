"""What an archive may hold, and the manifest that its content is checked against."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats.dictionaries import LARGEST
from fairseq_lottery.formats.ticket import Ticket
from fairseq_lottery.tickets.pack import subword_files
from fairseq_lottery.tickets.pack.train_command import DATA_VALUE, TICKET

FORMAT = 1
MANIFEST, RECORD, COMMAND, README = "manifest.json", "record.json", "command.txt", "README.txt"
SUBWORDS = "subwords"
#: no honest member shrinks so far (sign-only tickets: to a sixth); deflate reaches 1/1032
LARGEST_RATIO = 100

#: bytes of a text of ours, and of the record, which describes every matrix
_LARGEST_TEXT, _LARGEST_RECORD = 1 << 20, 1 << 24

_WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_SUBWORDS = re.compile(rf"{SUBWORDS}/{_WORD}")
_MEMBER = re.compile(
    rf"{re.escape(TICKET)}|{RECORD}|{COMMAND}|{README}|dict(\.{DATA_VALUE})?\.txt"
    rf"|{_SUBWORDS.pattern}"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_subwords(name: str) -> bool:
    """Whether a member is one of the subword files: a plain name in the folder for them."""
    return _SUBWORDS.fullmatch(name) is not None


def is_member(name: str) -> bool:
    """Whether an archive may hold ``name``: no folder but one, and nothing that leads out."""
    return _MEMBER.fullmatch(name) is not None


def largest(name: str) -> Optional[int]:
    """The most bytes that a member may have; None for the ticket, which has its own reader."""
    if name == TICKET:
        return None
    if is_subwords(name):
        return subword_files.LARGEST
    kinds = {RECORD: _LARGEST_RECORD, **dict.fromkeys((MANIFEST, COMMAND, README), _LARGEST_TEXT)}
    return kinds.get(name, LARGEST)


def required(dictionaries: Iterable[str]) -> set[str]:
    """The members that every archive with these dictionaries has, its manifest aside."""
    return {TICKET, RECORD, COMMAND, README, *dictionaries}


def to_json(value: Any) -> bytes:
    """JSON that is read by people and always the same."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def describe(ticket: Ticket) -> dict[str, Any]:
    """What the record says of the ticket, and what it is checked against on unpacking."""
    signature = ticket.record.get("signature")
    if not isinstance(signature, str) or not signature.isprintable():
        raise LotteryError("the ticket's record has no signature; draw the ticket again")
    return {"digest": ticket.digest(), "signature": signature, "ticket": ticket.record}


def write_manifest(members: Mapping[str, bytes]) -> bytes:
    """Size in bytes and SHA-256 of every member but the manifest."""
    rows = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
    }
    return to_json({"format": FORMAT, "members": rows})


def read_manifest(content: bytes) -> dict[str, tuple[int, str]]:
    """Name -> size in bytes and SHA-256.

    Raises:
        LotteryError: malformed, or of another format.
    """
    try:
        found = read_json(content.decode())
        if found["format"] == FORMAT and found["format"] is not True:
            rows = {name: (row["bytes"], row["sha256"]) for name, row in found["members"].items()}
            if all(type(size) is int and _DIGEST.fullmatch(sha) for size, sha in rows.values()):
                return rows
            raise TypeError("a size or digest is none")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LotteryError(f"its {MANIFEST} is malformed ({error!r})") from None
    raise LotteryError(
        f"its format is {found['format']!r}, this fairseq-lottery reads {FORMAT}; update"
        " fairseq-lottery"
    )
