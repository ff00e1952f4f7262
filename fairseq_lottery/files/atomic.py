"""Write files atomically, lock folders, and read untrusted files.

After a crash either the old or the new file exists. Reading a pipe fails instead of waiting.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Union

from fairseq_lottery.errors import CannotWriteError, LotteryError


def refuse_target(path: Union[str, Path], overwrite: bool = False) -> None:
    """Refuse a file to write that exists and must not be replaced, or whose folder is missing.

    Commands call it before a long computation; ``replacing`` calls it again.
    """
    target = Path(path)
    refuse_device(target)
    if os.path.lexists(target) and not overwrite:
        raise LotteryError(f"{target} exists already; remove it or choose another name")
    if not os.path.isdir(target.parent):
        raise LotteryError(f"the folder {target.parent} does not exist; create it first")


def refuse_device(path: Path) -> None:
    """Refuse a device, pipe or socket, such as /dev/null: root could replace it by a file."""
    with suppress(OSError):  # it does not exist
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            raise LotteryError(f"{path} is a device, a pipe or a socket; choose another name")


@contextmanager
def replacing(path: Union[str, Path], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which is synced and renamed to ``path`` on exit.

    Raises:
        LotteryError: the folder does not exist or cannot be written, or ``path`` exists and
            ``overwrite`` is false.
    """
    target = Path(path)
    refuse_target(target, overwrite)
    try:
        # a random name: process numbers repeat between containers
        number, name = tempfile.mkstemp(".tmp", f".{target.name}.", target.parent)
    except OSError as error:
        raise CannotWriteError(f"{target} cannot be written: {error.strerror}") from error
    os.close(number)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # safetensors writes private files
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
        reason = getattr(error, "strerror", None) or error
        raise CannotWriteError(f"{target} cannot be written: {reason}") from error
    finally:
        with suppress(OSError):  # it was renamed
            temporary.unlink()
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself survives a power cut
    finally:
        os.close(folder)


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Raise one sentence if a file in ``folder`` cannot be written, such as on a full disk."""
    try:
        yield
    except OSError as error:
        raise CannotWriteError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}"
        ) from error


def is_plain(path: Union[str, Path]) -> bool:
    """Return whether ``path`` is a regular file, or a link to one."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # too long, or with a null byte
        return False


def refuse_missing(*paths: Union[str, Path, None]) -> None:
    """Refuse the first path that is not a regular file, and list files beside it; skip None.

    Commands call it before they load or measure anything.
    """
    for path in (Path(path) for path in paths if path is not None):
        if os.path.isdir(path):
            raise LotteryError(f"{path} is a folder; name a file in it")
        if not is_plain(path):
            try:
                near = sorted(file.name for file in path.parent.glob(f"*{path.suffix or '.pt'}"))
            except (OSError, ValueError):  # the name is too long, or not a pattern
                near = []
            hint = f"; beside it are {', '.join(near)}" if near else ""
            raise LotteryError(f"there is no file {path}{hint}")


def read_bytes(path: Union[str, Path], limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Raises:
        OSError: the file cannot be read, is a pipe or a device, or exceeds ``limit``; ``strerror``
            is the reason.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits for a writer
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name has a null byte") from error
    with open(number, "rb") as file:
        status = os.fstat(number)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, expected a regular file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than {limit}")
        return file.read(status.st_size)  # read(limit) would allocate ``limit`` bytes


def read_lines(path: Union[str, Path], limit: int) -> Iterator[str]:
    """Yield the lines of a text file without line ends; raise the errors of ``read_text``."""
    for line in io.TextIOWrapper(io.BytesIO(read_bytes(path, limit)), encoding="utf-8"):
        yield line.rstrip("\n")


def sha256_of(path: Union[str, Path]) -> str:
    """Return the SHA-256 of a file of any size; raise OSError if it cannot be read."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def read_text(path: Union[str, Path], limit: int) -> str:
    """Return the UTF-8 text of a file with newlines as line ends.

    Raises:
        OSError: as ``read_bytes``.
        UnicodeDecodeError: the file is not UTF-8.
    """
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, limit)), encoding="utf-8").read()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Create and lock a folder; the lock ends with this process at the latest.

    Raises:
        LotteryError: another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 - open until the work ends
    except OSError as error:
        raise CannotWriteError(
            f"{folder} cannot be written ({error.strerror}); give another --out"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LotteryError(
                f"another run is at work in {folder}; wait for it, or give another --out"
            ) from None
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a lock file, and hold it during the block."""
    try:
        lock = open(path, "w")  # noqa: SIM115 - open until the work ends
    except OSError as error:
        raise CannotWriteError(f"{path} cannot be written ({error.strerror})") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
