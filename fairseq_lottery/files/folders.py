"""Write folders atomically."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import CannotWriteError, LotteryError
from fairseq_lottery.files.atomic import refuse_device


@contextmanager
def replacing_folder(
    path: Union[str, Path], marker: Optional[str], overwrite: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Yield two temporary folders beside ``path``; the first is renamed to ``path`` on exit.

    The second folder is for intermediate files and is removed on exit. An old folder is removed
    after the new one has replaced it; after a power cut in between it remains as ``.NAME.*.old``.

    Args:
        marker: file that folders of this kind contain. ``overwrite`` replaces only empty folders
            and folders with this file; None replaces only empty ones.

    Raises:
        LotteryError: ``path`` exists and must not be replaced, or cannot be written.
    """
    target = Path(os.path.abspath(path))
    try:
        refuse_folder(target, marker, overwrite)
        private = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    except OSError as error:
        raise CannotWriteError(f"{target} cannot be written: {error.strerror}") from error
    new, old = private / "new", private.with_suffix(".old")
    try:
        new.mkdir()
        yield new, private
        for written in new.rglob("*"):
            if written.is_file():
                with open(written, "rb+") as file:
                    os.fsync(file.fileno())
        if marker is not None and target.exists():  # otherwise it is empty, and rename replaces it
            os.rename(target, old)
        os.rename(new, target)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
        if old.exists() and not target.exists():
            os.rename(old, target)
        reason = getattr(error, "strerror", None) or error
        raise CannotWriteError(f"{target} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(private, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def refuse_folder(path: Union[str, Path], marker: Optional[str], overwrite: bool = False) -> None:
    """Raise ``LotteryError`` if ``replacing_folder`` would refuse a path."""
    target = Path(os.path.abspath(path))
    if not os.path.isdir(target.parent):
        raise LotteryError(f"the folder {target.parent} does not exist; create it first")
    if not os.path.lexists(target):
        return
    refuse_device(target)
    if not overwrite:
        raise LotteryError(f"{target} exists already; remove it or choose another name")
    if target.is_symlink() or not target.is_dir():
        raise LotteryError(f"{target} exists but is not a folder; choose another name")
    if any(target.iterdir()) and not (marker and (target / marker).is_file()):
        content = f"has files but no {marker}" if marker else "is not empty"
        raise LotteryError(f"{target} {content}; choose another name")
