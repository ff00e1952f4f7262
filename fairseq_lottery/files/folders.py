"""Writing a folder so that a crash leaves no half of one at its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError


@contextmanager
def replacing_folder(
    path: Union[str, Path], marker: Optional[str], overwrite: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Give two temporary folders beside ``path``; on leaving, the first is renamed to ``path``.

    The second is private, for what is needed on the way; it is removed. An old folder goes when
    the new one stands in its place; a power cut between the two leaves it as ``.NAME.*.old``.

    Args:
        marker: a file that folders of this kind have: with ``overwrite`` only a folder that
            has it, or an empty one, is replaced; None replaces an empty one only.

    Raises:
        LotteryError: ``path`` exists and may not be replaced, or cannot be written.
    """
    target = Path(os.path.abspath(path))
    try:
        _refuse(target, marker, overwrite)
        private = Path(tempfile.mkdtemp(".tmp", f".{target.name}.", target.parent))
    except OSError as error:
        raise LotteryError(f"{target} cannot be written: {error.strerror}") from error
    new, old = private / "new", private.with_suffix(".old")
    try:
        new.mkdir()
        yield new, private
        for written in new.rglob("*"):
            if written.is_file():
                with open(written, "rb+") as file:
                    os.fsync(file.fileno())
        if marker is not None and target.exists():  # else it is empty, or the rename fails
            os.rename(target, old)
        os.rename(new, target)
    except (OSError, RuntimeError) as error:  # torch calls a full disk a RuntimeError
        if old.exists() and not target.exists():
            os.rename(old, target)
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{target} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(private, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _refuse(target: Path, marker: Optional[str], overwrite: bool) -> None:
    if not os.path.isdir(target.parent):
        raise LotteryError(f"the folder {target.parent} does not exist; make it first")
    if not os.path.lexists(target):
        return
    if not overwrite:
        raise LotteryError(f"{target} exists already; remove it or choose another name")
    if target.is_symlink() or not target.is_dir():
        raise LotteryError(f"{target} is there and is no folder; choose another name")
    if any(target.iterdir()) and not (marker and (target / marker).is_file()):
        content = f"holds no {marker} but other files" if marker else "is not empty"
        raise LotteryError(f"{target} {content}; choose another name")
