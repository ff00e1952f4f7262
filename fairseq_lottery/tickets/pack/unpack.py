"""Unpack an untrusted archive: verify its members, then move them to their folder."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.files.folders import replacing_folder
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.files.zip_directory import refuse_large_directory
from fairseq_lottery.formats.dictionaries import read_dictionaries
from fairseq_lottery.formats.ticket import Ticket, load_ticket
from fairseq_lottery.tickets.pack import guide, manifest
from fairseq_lottery.tickets.pack.manifest import COMMAND, MANIFEST, README, RECORD, SUBWORDS
from fairseq_lottery.tickets.pack.subword_files import refuse_other_kind
from fairseq_lottery.tickets.pack.train_command import TICKET, TrainingCommand

_CHUNK = 1 << 20
#: maximum bytes of the ZIP's directory, and first bytes of a subword file that identify its tool
_LARGEST_DIRECTORY, _HEAD = 1 << 16, 16
_CORRUPTED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


def unpack(archive: Union[str, Path], out: Union[str, Path]) -> tuple[Ticket, str]:
    """Verify an archive and unpack it into a new folder; nothing in it is executed.

    Args:
        archive: file that ``pack`` wrote.
        out: folder that does not exist, or is empty.

    Returns:
        The ticket, and the commands to train it in ``out``.

    Raises:
        LotteryError: the archive is corrupted, was changed, or contains anything that ``pack``
            does not write; ``out`` is then not written.
    """
    if not is_plain(archive):
        raise LotteryError(f"there is no file {archive}")
    with replacing_folder(out, None, overwrite=True) as (folder, _):
        try:
            with open(archive, "rb") as raw:
                refuse_large_directory(raw, _LARGEST_DIRECTORY)
                with zipfile.ZipFile(raw) as file:
                    return _unpacked(file, os.fstat(raw.fileno()).st_size, folder)
        except LotteryError as error:
            raise LotteryError(f"{archive} is not unpacked: {error}") from error
        except _CORRUPTED as error:
            # zipfile quotes names of any length
            reason = str(error)[:200]
            raise LotteryError(
                f"{archive} is not a ticket archive, or corrupted ({reason})"
            ) from error
        except OSError as error:
            raise LotteryError(f"{archive} cannot be unpacked into {out}: {error}") from error


def _unpacked(file: zipfile.ZipFile, size: int, folder: Path) -> tuple[Ticket, str]:
    """Write the members of an archive of ``size`` bytes into ``folder`` and verify them."""
    members = _members(file, size)
    if MANIFEST not in members:
        raise LotteryError(f"{MANIFEST} is missing; create the archive with fairseq-lottery pack")
    listing = members.pop(MANIFEST)
    with file.open(listing) as member:
        content = member.read((manifest.largest(MANIFEST) or 0) + 1)
    if len(content) != listing.file_size:
        raise LotteryError(f"{MANIFEST} is corrupted, or exceeds a megabyte")
    rows = manifest.read_manifest(content)
    for name in sorted(set(members) ^ set(rows)):
        raise LotteryError(f"expected {name!r} both in the archive and in its {MANIFEST}")
    for name, info in members.items():
        _refuse_other_member(info, rows[name][0])
    for name, info in members.items():
        _extract(file, info, folder / name, rows[name][1])
    return _verify(folder, set(members))


def _members(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return name -> member of an archive of ``size`` bytes; refuse folders, links and bombs."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or kind not in (0, stat.S_IFREG):
            raise LotteryError(f"member {name!r} is not a regular file")
        if name.casefold() in map(str.casefold, members):  # the same file on some systems
            raise LotteryError(f"member {name!r} is repeated")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise LotteryError(
                f"member {name!r} has compression {info.compress_type}, expected 0 or 8"
            )
        if info.file_size > manifest.LARGEST_RATIO * max(info.compress_size, 1):
            raise LotteryError(
                f"member {name!r} expands from {info.compress_size} to {info.file_size} bytes,"
                f" more than {manifest.LARGEST_RATIO} times"
            )
        members[name] = info
    # members that share their bytes could expand without limit
    if sum(info.compress_size for info in members.values()) > size:
        raise LotteryError("the members overlap")
    return members


def _refuse_other_member(info: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member with an unknown name, or another size than in the manifest."""
    name, limit = info.filename, manifest.largest(info.filename)
    if not manifest.is_member(name):
        raise LotteryError(f"unexpected member {name!r} in the ticket archive")
    if info.file_size != size:
        raise LotteryError(
            f"member {name!r} has {info.file_size} bytes, expected {size} as in {MANIFEST}"
        )
    if limit is not None and size > limit:
        raise LotteryError(f"member {name!r} has {size} bytes, which exceeds {limit}")


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, sha256: str) -> None:
    """Write one member; ``zipfile`` stops at the declared size."""
    path.parent.mkdir(exist_ok=True)
    sha, size = hashlib.sha256(), 0
    with file.open(info) as member, open(path, "xb") as written:
        while chunk := member.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
            written.write(chunk)
    if size != info.file_size or sha.hexdigest() != sha256:
        raise LotteryError(f"SHA-256 or size of {info.filename!r} is not that of {MANIFEST}")


def _verify(folder: Path, names: set[str]) -> tuple[Ticket, str]:
    """Refuse members that do not match: ticket, command, dictionaries and record."""
    for name in sorted({COMMAND, TICKET, RECORD, README} - names):
        raise LotteryError(f"{name} is missing")
    text = _text(folder, COMMAND)
    with _named_as_members(folder):
        ticket = load_ticket(folder / TICKET)
    command = TrainingCommand.parse(text, ticket.adapter)
    if command.text() != text:
        raise LotteryError(f"{COMMAND} does not have the format of fairseq-lottery pack")
    data = command.folder(folder)
    needed = {TICKET, RECORD, COMMAND, README, *data.files.values()}
    for name in sorted(needed ^ {name for name in names if not manifest.is_subwords(name)}):
        raise LotteryError(
            f"{name} is missing" if name in needed else f"unexpected member {name!r}"
        )
    with _named_as_members(folder):
        if read_dictionaries(data) != ticket.dictionaries:
            raise LotteryError("the dictionaries are not those of the ticket")
    subwords = sorted(name.partition("/")[2] for name in names if manifest.is_subwords(name))
    _refuse_other_record(
        read_json(_text(folder, RECORD)), manifest.describe(ticket), text, subwords
    )
    if not all(line.isprintable() for line in _text(folder, README).split("\n")):
        raise LotteryError(f"{README} has characters that cannot be printed")
    heads = {}
    for name in subwords:
        content = (folder / SUBWORDS / name).read_bytes()
        refuse_other_kind(f"{SUBWORDS}/{name}", content)
        heads[name] = content[:_HEAD]
    return ticket, guide.steps(command, heads)


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_bytes().decode()


def _refuse_other_record(
    record: object, description: Mapping[str, object], command: str, subwords: list[str]
) -> None:
    if not isinstance(record, dict) or {key: record.get(key) for key in description} != description:
        raise LotteryError(f"{RECORD} does not match the ticket")
    if record.get("subwords") != subwords or record.get("command") != command:
        raise LotteryError(f"{RECORD} does not match the subword files or the command")


@contextmanager
def _named_as_members(folder: Path) -> Iterator[None]:
    """Replace paths in a temporary folder by names of members in errors."""
    try:
        yield
    except LotteryError as error:
        raise LotteryError(str(error).replace(f"{folder}{os.sep}", "")) from None
