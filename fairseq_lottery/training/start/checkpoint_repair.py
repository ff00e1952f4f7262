"""A last checkpoint that a kill left corrupted, replaced by the newest whole one beside it.

fairseq writes ``checkpoint_last.pt`` as a plain copy wherever it writes another checkpoint at
the same update. A kill in the middle leaves half a file, and the next start fails on it.
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

#: what fairseq itself calls the checkpoints of a training, besides the last one
_NAMES = r"checkpoint(\d+|_\d+_\d+|_best)%s\.pt"


def is_whole(path: Union[str, Path]) -> bool:
    """Whether every byte of a checkpoint that counts is as it was written.

    torch writes zip archives, and reading one looks at the checksum of everything in it. Of the
    format before that only a missing end is seen. A whole archive that the safe loader refuses
    is whole.
    """
    try:
        read_checkpoint(path)
    except LotteryError as error:
        refused = error.__cause__ is None or isinstance(error.__cause__, pickle.UnpicklingError)
        return refused and zipfile.is_zipfile(path)
    return True


def _newest(folder: Path, suffix: str) -> Optional[tuple[int, Path]]:
    """Update and path of the newest checkpoint that is whole and can be read, if there is one."""
    found = []
    for path in sorted(folder.glob("checkpoint*.pt")):
        if not re.fullmatch(_NAMES % re.escape(suffix), path.name):
            continue
        try:
            history = read_checkpoint(path)["optimizer_history"]
            found.append((int(history[-1]["num_updates"]), path))
        except (LotteryError, LookupError, TypeError, ValueError):
            continue
    return max(found, key=lambda one: one[0], default=None)


def mend_last(save_dir: Union[str, Path], suffix: str = "") -> Optional[str]:
    """Make sure that a training which goes on in ``save_dir`` finds a whole last checkpoint.

    A corrupted one is kept as ``checkpoint_last.pt.damaged``, and the newest whole checkpoint
    takes its place. Returns a sentence for the log; None where there is nothing to repair.

    Raises:
        LotteryError: the last checkpoint is corrupted and no other is whole.
    """
    folder = Path(save_dir)
    last = folder / f"checkpoint_last{suffix}.pt"
    if not last.is_file() or is_whole(last):
        return None
    newest = _newest(folder, suffix)
    if newest is None:
        raise LotteryError(
            f"{last} is corrupted and no whole checkpoint lies beside it; remove it to train from"
            " the start"
        )
    update, path = newest
    corrupted = last.with_name(f"{last.name}.damaged")
    with replacing(last) as temporary:
        shutil.copyfile(path, temporary)
        corrupted.unlink(missing_ok=True)
        os.link(last, corrupted)  # not renamed: a kill here must not leave a folder without a last
    return (
        f"{last.name} was corrupted and is kept as {corrupted.name}; the training goes on from"
        f" {path.name}, update {update}"
    )
