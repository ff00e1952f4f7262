"""Replacement of a corrupted last checkpoint by the newest intact one of its folder.

fairseq writes ``checkpoint_last.pt`` as a plain copy if it writes another checkpoint at the same
update. A kill during the copy truncates the file, and the next start would fail.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Optional, Union

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats.source import read_checkpoint

#: fairseq's names of a training's checkpoints, except the last one
_NAMES = r"checkpoint(\d+|_\d+_\d+|_best)%s\.pt"


def is_intact(path: Union[str, Path]) -> bool:
    """Return whether a checkpoint is not corrupted.

    torch writes zip archives, and reading one verifies its checksums. In torch's older format only
    truncation is detected. An uncorrupted archive that the safe loader refuses is intact.
    """
    try:
        read_checkpoint(path)
    except LotteryError as error:
        is_refused = error.__cause__ is None or isinstance(error.__cause__, pickle.UnpicklingError)
        return is_refused and zipfile.is_zipfile(path)
    return True


def _newest(folder: Path, suffix: str) -> Optional[tuple[int, Path]]:
    """Return update and path of the newest readable checkpoint; None if there is none."""
    checkpoints = []
    for path in sorted(folder.glob("checkpoint*.pt")):
        if not re.fullmatch(_NAMES % re.escape(suffix), path.name):
            continue
        try:
            history = read_checkpoint(path)["optimizer_history"]
            checkpoints.append((int(history[-1]["num_updates"]), path))
        except (LotteryError, LookupError, TypeError, ValueError):
            continue
    return max(checkpoints, key=lambda checkpoint: checkpoint[0], default=None)


def repair_last(save_dir: Union[str, Path], suffix: str = "") -> Optional[str]:
    """Replace the last checkpoint in ``save_dir`` if it is corrupted.

    The corrupted file is kept as ``checkpoint_last.pt.damaged``, and the newest intact checkpoint
    takes its place. Return a sentence for the log; None if there is nothing to repair.

    Raises:
        LotteryError: the last checkpoint is corrupted and no other is intact.
    """
    folder = Path(save_dir)
    last = folder / f"checkpoint_last{suffix}.pt"
    if not last.is_file() or is_intact(last):
        return None
    newest = _newest(folder, suffix)
    if newest is None:
        raise LotteryError(
            f"{last} is corrupted and its folder has no other intact checkpoint; remove it to train"
            " from the start"
        )
    update, path = newest
    corrupted = last.with_name(f"{last.name}.damaged")
    with replacing(last) as temporary:
        shutil.copyfile(path, temporary)
        corrupted.unlink(missing_ok=True)
        os.link(last, corrupted)  # not renamed: after a kill here, a last one must still exist
    return (
        f"{last.name} was corrupted and is kept as {corrupted.name}; the training resumes from"
        f" {path.name}, update {update}"
    )
