"""Writing files so that a crash leaves the old one or the new one, never half of one.

And holding a folder, so that two processes never write into it at once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    if target.exists() and not overwrite:
        raise LotteryError(f"{target} exists already; remove it or choose another name")
    if not target.parent.is_dir():
        raise LotteryError(f"the folder {target.parent} does not exist; make it first")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors makes its files private
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch calls a full disk a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{target} cannot be written: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself survives a power cut
    finally:
        os.close(folder)


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
