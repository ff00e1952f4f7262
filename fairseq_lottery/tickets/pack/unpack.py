"""Unpacking an archive that anybody may have made: verified first, then moved into place."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.files.zip_directory import refuse_large_directory
from fairseq_lottery.formats.dictionaries import read_dictionaries
from fairseq_lottery.formats.ticket import Ticket, load_ticket
from fairseq_lottery.tickets.pack import guide, manifest
from fairseq_lottery.tickets.pack.subword_files import refuse_other_kind
from fairseq_lottery.tickets.pack.train_command import TICKET, TrainingCommand

_CHUNK = 1 << 20
#: bytes of the ZIP's directory, and those of a subword file by which its tool is known
_LARGEST_DIRECTORY, _HEAD = 1 << 16, 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
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
        LotteryError: an archive that is damaged, was changed, or holds anything that ``pack``
            does not write; then there is nothing at ``out``.
    """
    target = Path(os.path.abspath(out))
    _refuse_target(target)
    if not is_plain(archive):
        raise LotteryError(f"there is no file {archive}")
    try:
        with open(archive, "rb") as raw:
            refuse_large_directory(raw, _LARGEST_DIRECTORY)
            with zipfile.ZipFile(raw) as file:
                listed = _list(file, Path(archive).stat().st_size)
                rows = manifest.read_manifest(_read_text(file, listed.pop(manifest.MANIFEST)))
                _refuse_other_list(listed, rows)
                with _private_folder(target) as folder:
                    for name, info in listed.items():
                        _extract(file, info, folder / name, rows[name][1])
                    result = _verify(folder, set(listed))
                    os.rename(folder, target)
    except LotteryError as error:
        raise LotteryError(f"{archive} is not unpacked: {error}") from error
    except _DAMAGE as error:
        # zipfile's reasons quote as many bytes as the archive likes
        reason = str(error)[:200]
        raise LotteryError(f"{archive} is no archive of a ticket, or damaged ({reason})") from error
    except OSError as error:
        raise LotteryError(f"{archive} cannot be unpacked into {target}: {error}") from error
    return result


@contextmanager
def _private_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside ``target``, under a random name that nobody else has."""
    private = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    try:
        folder = private / "new"  # as public as any other, which the private one is not
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _refuse_target(target: Path) -> None:
    try:
        _refuse_taken(target)
    except OSError as error:  # a name that no system takes, or a folder that is locked
        raise LotteryError(f"--out {target} cannot be made: {error.strerror}") from error


def _refuse_taken(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LotteryError(f"--out {target} is there and is no folder; choose another name")
    if target.is_dir() and any(target.iterdir()):
        raise LotteryError(f"--out {target} is not empty; choose a new folder")
    if not target.parent.is_dir():
        raise LotteryError(f"the folder {target.parent} does not exist; make it first")


def _list(file: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The index of an archive of ``size`` bytes: plain files of believable sizes, by name."""
    listed: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for info in file.infolist():
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() or kind not in (0, stat.S_IFREG):
            raise LotteryError(f"its member {name!r} is no plain file")
        if name.casefold() in seen:  # some systems have one file for both
            raise LotteryError(f"it has the member {name!r} twice")
        if info.compress_type not in _METHODS:
            raise LotteryError(f"its member {name!r} is not compressed as fairseq-lottery does it")
        if info.file_size > manifest.LARGEST_RATIO * max(info.compress_size, 1):
            raise LotteryError(
                f"its member {name!r} would grow from {info.compress_size} to {info.file_size}"
                " bytes, which no ticket does"
            )
        listed[name] = info
        seen.add(name.casefold())
    if manifest.MANIFEST not in listed:
        raise LotteryError(f"it has no {manifest.MANIFEST}, so fairseq-lottery did not pack it")
    # members that share their bytes would each be small and a flood together
    if sum(info.compress_size for info in listed.values()) > size:
        raise LotteryError("its members overlap")
    return listed


def _refuse_other_list(
    listed: dict[str, zipfile.ZipInfo], rows: dict[str, tuple[int, str]]
) -> None:
    for name in sorted(set(listed) ^ set(rows)):
        raise LotteryError(f"{name!r} is not both in it and in its {manifest.MANIFEST}")
    for name, info in listed.items():
        if not manifest.is_member(name):
            raise LotteryError(f"it has the member {name!r}, which no archive of a ticket has")
        if info.file_size != rows[name][0]:
            raise LotteryError(
                f"its member {name!r} has {info.file_size} bytes and not {rows[name][0]}, as its"
                f" {manifest.MANIFEST} says"
            )
        most = manifest.largest(name)
        if most is not None and info.file_size > most:
            raise LotteryError(f"its member {name!r} has {info.file_size} bytes, more than {most}")


def _read_text(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with file.open(info) as member:
        content = member.read((manifest.largest(info.filename) or 0) + 1)
    if len(content) != info.file_size:
        raise LotteryError(f"its {info.filename} is larger than a megabyte, or damaged")
    return content


def _extract(file: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, sha256: str) -> None:
    """Write one member; ``zipfile`` ends it at the size that it declares."""
    path.parent.mkdir(exist_ok=True)
    sha, size = hashlib.sha256(), 0
    with file.open(info) as member, open(path, "xb") as written:
        while chunk := member.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
            written.write(chunk)
        os.fsync(written.fileno())
    if size != info.file_size or sha.hexdigest() != sha256:
        raise LotteryError(f"its member {info.filename!r} is not what its {manifest.MANIFEST} says")


def _verify(folder: Path, names: set[str]) -> tuple[Ticket, str]:
    """Whether the files fit each other: ticket, command, dictionaries, record."""
    for name in (manifest.COMMAND, TICKET):
        if name not in names:
            raise LotteryError(f"it has no {name}")
    text = (folder / manifest.COMMAND).read_bytes().decode()
    with _of_the_archive(folder):
        ticket = load_ticket(folder / TICKET)
    command = TrainingCommand.parse(text, ticket.adapter)
    if command.text() != text:
        raise LotteryError(f"its {manifest.COMMAND} is not as fairseq-lottery writes it")
    data = command.folder(folder)
    wanted = manifest.required(data.files.values())
    for name in sorted(wanted ^ {name for name in names if not manifest.is_subwords(name)}):
        raise LotteryError(
            f"it has no {name}" if name in wanted else f"it has the unknown member {name!r}"
        )
    with _of_the_archive(folder):
        dictionaries = read_dictionaries(data)
    if dictionaries != ticket.dictionaries:
        raise LotteryError("its dictionaries are not those of its ticket")
    record = read_json((folder / manifest.RECORD).read_bytes().decode())
    about = manifest.describe(ticket)
    if not isinstance(record, dict) or {key: record.get(key) for key in about} != about:
        raise LotteryError(f"its {manifest.RECORD} is not about its ticket")
    subwords = sorted(Path(name).name for name in names if manifest.is_subwords(name))
    if record.get("subwords") != subwords or record.get("command") != text:
        raise LotteryError(f"its {manifest.RECORD} is not about its other members")
    _refuse_unprintable((folder / manifest.README).read_bytes().decode())
    heads = {}
    for name in subwords:
        content = (folder / manifest.SUBWORDS / name).read_bytes()
        refuse_other_kind(f"{manifest.SUBWORDS}/{name}", content)
        heads[name] = content[:_HEAD]
    return ticket, guide.steps(command, heads)


@contextmanager
def _of_the_archive(folder: Path) -> Iterator[None]:
    """Name the archive's members in errors instead of files in a private folder."""
    try:
        yield
    except LotteryError as error:
        raise LotteryError(str(error).replace(f"{folder}{os.sep}", "its ")) from None


def _refuse_unprintable(readme: str) -> None:
    """A README is shown on a terminal, which acts on some characters."""
    if not all(line.isprintable() for line in readme.split("\n")):
        raise LotteryError(f"its {manifest.README} holds characters that cannot be printed")
