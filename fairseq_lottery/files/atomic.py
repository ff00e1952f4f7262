"""Writing files atomically, holding a folder, and reading files that anybody may have put there.

A crash leaves the old file or the new one; a pipe in the place of a file makes no command wait.
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

from fairseq_lottery.errors import LotteryError


@contextmanager
def replacing(path: Union[str, Path], overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on leaving it is synced and renamed to ``path``.

    Raises:
        LotteryError: the folder does not exist or cannot be written, or ``path`` exists and
            ``overwrite`` is false.
    """
    target = Path(path)
    if os.path.lexists(target) and not overwrite:
        raise LotteryError(f"{target} exists already; remove it or choose another name")
    if not os.path.isdir(target.parent):
        raise LotteryError(f"the folder {target.parent} does not exist; make it first")
    try:
        # created here under a random name: process numbers repeat between containers
        number, name = tempfile.mkstemp(".tmp", f".{target.name}.", target.parent)
    except OSError as error:
        raise LotteryError(f"{target} cannot be written: {error.strerror}") from error
    os.close(number)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # safetensors makes its files private
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch calls a full disk a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{target} cannot be written: {reason}") from error
    finally:
        with suppress(OSError):  # it is renamed
            temporary.unlink()
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself survives a power cut
    finally:
        os.close(folder)


def is_plain(path: Union[str, Path]) -> bool:
    """Whether there is a plain file (or a link to one); False also for what is no path at all."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):  # a name that is too long, or holds a null byte
        return False


def refuse_missing(*paths: Union[str, Path, None]) -> None:
    """Refuse the first path that is not a plain file, and name files beside it; skip None.

    A command calls it first: a wrong name is found before anything is loaded or measured.
    """
    for path in (Path(path) for path in paths if path is not None):
        if os.path.isdir(path):
            raise LotteryError(f"{path} is a folder; name a file in it")
        if not is_plain(path):
            try:
                near = sorted(one.name for one in path.parent.glob(f"*{path.suffix or '.pt'}"))
            except (OSError, ValueError):  # the name is too long, or no pattern
                near = []
            hint = f"; beside it are {', '.join(near)}" if near else ""
            raise LotteryError(f"there is no file {path}{hint}")


def read_bytes(path: Union[str, Path], most: int) -> bytes:
    """The content of a plain file of at most ``most`` bytes.

    Raises:
        OSError: it cannot be read, is a pipe or a device, or is larger; ``strerror`` says which.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits until somebody writes into it
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, "its name holds a null byte") from error
    with open(number, "rb") as file:
        status = os.fstat(number)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device and no plain file")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than {most}")
        return file.read(status.st_size)  # read(most) would ask for all of it first


def read_lines(path: Union[str, Path], most: int) -> Iterator[str]:
    """Yield the lines of a text without their ends, one by one; raise as ``read_text`` does."""
    for line in io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding="utf-8"):
        yield line.rstrip("\n")


def sha256_of(path: Union[str, Path]) -> str:
    """SHA-256 of a file of any size; raises OSError."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def read_text(path: Union[str, Path], most: int) -> str:
    """As ``read_bytes``: UTF-8 text, with any line ends as newlines; or UnicodeDecodeError."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding="utf-8").read()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make and hold a folder; the lock ends with this process, however it ends.

    Raises:
        LotteryError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 - held until the work ends
    except OSError as error:
        raise LotteryError(
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
    """Hold a lock file as long as the block lasts, after waiting for whoever holds it."""
    try:
        lock = open(path, "w")  # noqa: SIM115 - held until the work ends
    except OSError as error:
        raise LotteryError(f"{path} cannot be written ({error.strerror})") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
