"""Unpacking an archive that anybody may have made: verified first, then moved into place."""

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
#: bytes of the ZIP's directory, and those of a subword file by which its tool is known
_LARGEST_DIRECTORY, _HEAD = 1 << 16, 16
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)


def unpack(archive: Union[str, Path], out: Union[str, Path]) -> tuple[Ticket, str]:
    """Verify an archive and unpack it into a new folder; nothing in it is ever executed.

    Args:
        archive: what ``pack`` wrote.
        out: a folder that does not exist yet, or is empty.

    Returns:
        The ticket, and the commands to train it in ``out``.

    Raises:
        LotteryError: an archive that is corrupted, was changed, or holds anything that ``pack``
            does not write; then there is nothing at ``out``.
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
        except _DAMAGE as error:
            # zipfile's reasons quote as many bytes as the archive likes
            reason = str(error)[:200]
            raise LotteryError(
                f"{archive} is no archive of a ticket, or corrupted ({reason})"
            ) from error
        except OSError as error:
            raise LotteryError(f"{archive} cannot be unpacked into {out}: {error}") from error


def _unpacked(file: zipfile.ZipFile, size: int, folder: Path) -> tuple[Ticket, str]:
    """Write the members of an archive of ``size`` bytes into ``folder``, and verify them."""
    members = _members(file, size)
    if MANIFEST not in members:
        raise LotteryError(f"it has no {MANIFEST}, so fairseq-lottery did not pack it")
    listing = members.pop(MANIFEST)
    with file.open(listing) as member:
        content = member.read((manifest.largest(MANIFEST) or 0) + 1)
    if len(content) != listing.file_size:
        raise LotteryError(f"its {MANIFEST} is larger than a megabyte, or corrupted")
    rows = manifest.read_manifest(content)
    for name in sorted(set(members) ^ set(rows)):
        raise LotteryError(f"{name!r} is not both in it and in its {MANIFEST}")
    for name, info in members.items():
        _refuse_other_member(info, rows[name][0])
    for name, info in members.items():
        _extract(file, info, folder / name, rows[name][1])
    return _verify(folder, set(members))


def _members(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The index of an archive of ``size`` bytes: plain files of believable sizes, by name."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in file.infolist():
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or kind not in (0, stat.S_IFREG):
            raise LotteryError(f"its member {name!r} is no plain file")
        if name.casefold() in map(str.casefold, members):  # some systems have one file for both
            raise LotteryError(f"it has the member {name!r} twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise LotteryError(f"its member {name!r} is not compressed as fairseq-lottery does it")
        if info.file_size > manifest.LARGEST_RATIO * max(info.compress_size, 1):
            raise LotteryError(
                f"its member {name!r} would grow from {info.compress_size} to {info.file_size}"
                " bytes, which no ticket does"
            )
        members[name] = info
    # members that share their bytes would each be small and a flood together
    if sum(info.compress_size for info in members.values()) > size:
        raise LotteryError("its members overlap")
    return members


def _refuse_other_member(info: zipfile.ZipInfo, size: int) -> None:
    """Refuse a member that no archive has, or whose size is not what its manifest says."""
    name, most = info.filename, manifest.largest(info.filename)
    if not manifest.is_member(name):
        raise LotteryError(f"it has the member {name!r}, which no archive of a ticket has")
    if info.file_size != size:
        raise LotteryError(
            f"its member {name!r} has {info.file_size} bytes and not {size}, as its {MANIFEST} says"
        )
    if most is not None and size > most:
        raise LotteryError(f"its member {name!r} has {size} bytes, more than {most}")


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, sha256: str) -> None:
    """Write one member; ``zipfile`` ends it at the size that it declares."""
    path.parent.mkdir(exist_ok=True)
    sha, size = hashlib.sha256(), 0
    with file.open(info) as member, open(path, "xb") as written:
        while chunk := member.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
            written.write(chunk)
    if size != info.file_size or sha.hexdigest() != sha256:
        raise LotteryError(f"its member {info.filename!r} is not what its {MANIFEST} says")


def _verify(folder: Path, names: set[str]) -> tuple[Ticket, str]:
    """Refuse files that do not fit each other: ticket, command, dictionaries, record."""
    for name in sorted({COMMAND, TICKET, RECORD, README} - names):
        raise LotteryError(f"it has no {name}")
    text = _text(folder, COMMAND)
    with _named_as_members(folder):
        ticket = load_ticket(folder / TICKET)
    command = TrainingCommand.parse(text, ticket.adapter)
    if command.text() != text:
        raise LotteryError(f"its {COMMAND} is not as fairseq-lottery writes it")
    data = command.folder(folder)
    needed = {TICKET, RECORD, COMMAND, README, *data.files.values()}
    for name in sorted(needed ^ {name for name in names if not manifest.is_subwords(name)}):
        what = f"no {name}" if name in needed else f"the unknown member {name!r}"
        raise LotteryError(f"it has {what}")
    with _named_as_members(folder):
        if read_dictionaries(data) != ticket.dictionaries:
            raise LotteryError("its dictionaries are not those of its ticket")
    subwords = sorted(name.partition("/")[2] for name in names if manifest.is_subwords(name))
    _refuse_other_record(
        read_json(_text(folder, RECORD)), manifest.describe(ticket), text, subwords
    )
    if not all(line.isprintable() for line in _text(folder, README).split("\n")):
        # it is shown on a terminal, which acts on some characters
        raise LotteryError(f"its {README} holds characters that cannot be printed")
    heads = {}
    for name in subwords:
        content = (folder / SUBWORDS / name).read_bytes()
        refuse_other_kind(f"{SUBWORDS}/{name}", content)
        heads[name] = content[:_HEAD]
    return ticket, guide.steps(command, heads)


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_bytes().decode()


def _refuse_other_record(
    record: object, about: Mapping[str, object], command: str, subwords: list[str]
) -> None:
    if not isinstance(record, dict) or {key: record.get(key) for key in about} != about:
        raise LotteryError(f"its {RECORD} is not about its ticket")
    if record.get("subwords") != subwords or record.get("command") != command:
        raise LotteryError(f"its {RECORD} is not about its other members")


@contextmanager
def _named_as_members(folder: Path) -> Iterator[None]:
    """Name the archive's members in errors instead of files in a private folder."""
    try:
        yield
    except LotteryError as error:
        raise LotteryError(str(error).replace(f"{folder}{os.sep}", "its ")) from None
