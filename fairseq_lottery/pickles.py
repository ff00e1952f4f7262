"""What a checkpoint's pickles ask for, found without loading anything.

torch's safe loader runs nothing, but its list of what is harmless is longer than what fairseq
writes: byte arrays and sparse tensors of any size out of a few bytes, tensors without values.
And it checks no checksum.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

#: of the pickle in a zip; the largest checkpoints have a few megabytes
_LARGEST = 1 << 28
#: the first of the pickles in a file of torch < 1.6 that says anything is the fourth
_PICKLES_OF_OLD_FORMAT = 4


def names_in(path: Union[str, Path]) -> set[tuple[str, str]]:
    """Module and name of everything that the pickles of a checkpoint ask for.

    A checkpoint of torch >= 1.6 is a zip archive, and all of it is read: nothing in it may be
    compressed or overlap, and every checksum has to fit.

    Raises:
        ValueError, OSError, zipfile.BadZipFile, ...: a file that is damaged.
        pickle.UnpicklingError: a pickle that names things in another way than torch does.
    """
    with open(path, "rb") as file:
        if file.read(2) != b"PK":
            # mapped, a text that claims to be as long as the memory ends with the file
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                return {name for _ in range(_PICKLES_OF_OLD_FORMAT) for name in _names(whole)}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in members):
            raise ValueError("it is compressed, as no checkpoint is")
        if sum(info.compress_size for info in members) > Path(path).stat().st_size:
            raise ValueError("its members overlap")
        if len({info.filename for info in members}) < len(members):
            raise ValueError("it has a member twice")
        if any(i.filename.endswith(".pkl") and i.file_size > _LARGEST for i in members):
            raise ValueError("its pickle is too large")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        pickles = [info for info in members if info.filename.endswith(".pkl")]
        return {name for info in pickles for name in _names(io.BytesIO(archive.read(info)))}


def _names(file: Any) -> Iterator[tuple[str, str]]:
    """Of one pickle; the file then stands behind it."""
    for code, argument, _ in pickletools.genops(file):
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield module, name
        elif code.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise pickle.UnpicklingError(f"{code.name} is not allowed in a checkpoint")
