"""List the globals in the pickles of a checkpoint without loading it.

torch's safe loader runs no code, but allows more than fairseq writes: byte arrays and sparse
tensors of any size from a few bytes, and tensors without values. It does not verify checksums. In
fairseq's own commands, torch before 2.6 loads every global of a pickle: there this check is the
only one. So it has to read what torch would load, and archives or pickles that two readers could
interpret in two ways are refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import tarfile
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any, Union

from fairseq_lottery.files.zip_directory import END, END_64, refuse_large_directory

#: maximum bytes and operations of pickles, and bytes of a ZIP's directory. A Transformer big with
#: optimizer, mask and EMA has 196 thousand, 47 thousand and 77 thousand
_LARGEST, _MOST, _LARGEST_DIRECTORY = 1 << 24, 1 << 20, 1 << 24
#: torch < 1.6: a magic number, a version, the machine, the state, names of storages
_PICKLES_OF_OLD_FORMAT = 5
#: names from strings, classes by number, and frames, which pickle reads beyond the end of the
#: pickle, unlike other readers
_REFUSED = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "FRAME")


class NotAllowedError(pickle.UnpicklingError):
    """Error for a pickle that contains more than plain data."""


def names_in(path: Union[str, Path]) -> set[tuple[str, str]]:
    """Return module and name of all globals in the pickles of a checkpoint.

    A checkpoint of torch >= 1.6 is a ZIP archive. Its members must not be compressed or overlap,
    all checksums have to match, and it has exactly one pickle and one directory.

    Raises:
        ValueError, OSError, zipfile.BadZipFile, ...: the file is corrupted.
        NotAllowedError: a pickle refers to globals in another way than torch does.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"PK\3\4":
            _refuse_tar(file)
            file.seek(0)
            start = io.BytesIO(file.read(_LARGEST))  # longer pickles are truncated and refused
            return _names(start, _PICKLES_OF_OLD_FORMAT)
        refuse_large_directory(file, _LARGEST_DIRECTORY)
        with zipfile.ZipFile(file) as archive:
            return _names(io.BytesIO(archive.read(_pickle_of(archive, file))), 1)


def _pickle_of(archive: zipfile.ZipFile, file: Any) -> zipfile.ZipInfo:
    """Return the only pickle of an archive after validating all members."""
    members = archive.infolist()
    size = file.seek(0, io.SEEK_END)
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise ValueError("it is compressed, as no checkpoint is")
    if sum(info.compress_size for info in members) > size:
        raise ValueError("its members overlap")
    # torch's reader ignores case, and uses the original name
    names = [info.orig_filename.lower() for info in members]
    if len(set(names)) < len(names):
        raise ValueError("a member is repeated")
    pickles = [info for info, name in zip(members, names) if name.endswith(".pkl")]
    if len(pickles) != 1 or pickles[0].orig_filename.rpartition("/")[2] != "data.pkl":
        raise ValueError("it does not have exactly one pickle, data.pkl")
    if pickles[0].file_size > _LARGEST:
        raise ValueError(f"its pickle has {pickles[0].file_size} bytes, more than {_LARGEST}")
    _refuse_other_end(file, size, len(members))
    corrupted = archive.testzip()
    if corrupted is not None:
        raise ValueError(f"the checksum of {corrupted} is wrong")
    return pickles[0]


def _refuse_other_end(file: Any, size: int, count: int) -> None:
    """Refuse an archive in which readers could find two directories."""
    file.seek(max(size - END.size - END_64.size, 0))
    tail = file.read()
    length, start = END.unpack(tail[-END.size :])[5:7]
    end = size - END.size
    if tail[-END.size - 20 :].startswith(b"PK\6\7"):
        end -= END_64.size
        versions = struct.unpack_from("<2H", tail, 12)
        length, start = struct.unpack_from("<2Q", tail, 40)
        counts = (count, count, length, start)
        expected = END_64.pack(b"PK\6\6", 44, *versions, 0, 0, *counts, b"PK\6\7", 0, end, 1)
    else:
        expected = b""
    short = (min(count, 0xFFFF),) * 2 + (min(length, 0xFFFFFFFF), min(start, 0xFFFFFFFF))
    expected += END.pack(b"PK\5\6", 0, 0, *short, 0)
    if start + length != end or not tail.endswith(expected):
        raise ValueError("its directory is not where torch writes it")


def _refuse_tar(file: Any) -> None:
    """Refuse tar archives, the format of torch < 0.4."""
    file.seek(0)
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return
    raise ValueError("it is a tar archive")


def _names(file: Any, pickles: int) -> set[tuple[str, str]]:
    """Return module and name of every global in consecutive pickles."""
    names: set[tuple[str, str]] = set()
    operations = chain.from_iterable(pickletools.genops(file) for _ in range(pickles))
    for count, (code, argument, _) in enumerate(operations):
        if count == _MOST:
            raise ValueError(f"its pickle has more than {_MOST} operations")
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            names.add((module, name))
        elif code.name in _REFUSED:
            raise NotAllowedError(f"{code.name} is not allowed in a checkpoint")
    return names
