"""What a checkpoint's pickles ask for, found without loading anything.

torch's safe loader runs nothing, but its list of what is harmless is longer than what fairseq
writes: byte arrays and sparse tensors of any size out of a few bytes, tensors without values.
It checks no checksum. And torch before 2.6, inside fairseq's own commands, loads whatever a
pickle asks for: there this look is all that stands before it, so what is looked at has to be
what torch would load, and an archive or a pickle that two readers could take for two things is
refused.
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

#: bytes of a checkpoint's pickles, their operations, and bytes of a zip's directory. Those of a
#: Transformer-big with its optimizer, mask and EMA have 196 thousand, 47 thousand and 77 thousand
_LARGEST, _MOST, _LARGEST_DIRECTORY = 1 << 24, 1 << 20, 1 << 24
#: torch < 1.6 wrote five: a magic number, a version, the machine, the state, names of storages
_PICKLES_OF_OLD_FORMAT = 5
#: names put together from texts, classes by number; and frames, of which pickle reads all where
#: others read to the end of the pickle
_REFUSED = ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4", "FRAME")


class NotAllowedError(pickle.UnpicklingError):
    """A pickle asks for more than plain data."""


def names_in(path: Union[str, Path]) -> set[tuple[str, str]]:
    """Module and name of everything that the pickles of a checkpoint ask for.

    A checkpoint of torch >= 1.6 is a zip archive, and all of it is read: nothing in it may be
    compressed or overlap, every checksum has to fit, and there is one pickle and one directory.

    Raises:
        ValueError, OSError, zipfile.BadZipFile, ...: a file that is corrupted.
        NotAllowedError: a pickle that names things in another way than torch does.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"PK\3\4":
            _refuse_tar(file)
            file.seek(0)
            start = io.BytesIO(file.read(_LARGEST))  # a longer pickle is cut short, so refused
            return _names(start, _PICKLES_OF_OLD_FORMAT)
        refuse_large_directory(file, _LARGEST_DIRECTORY)
        with zipfile.ZipFile(file) as archive:
            return _names(io.BytesIO(archive.read(_pickle_of(archive, file))), 1)


def _pickle_of(archive: zipfile.ZipFile, file: Any) -> zipfile.ZipInfo:
    """The one pickle of an archive, all of which is looked at."""
    members = archive.infolist()
    size = file.seek(0, io.SEEK_END)
    if any(info.compress_type != zipfile.ZIP_STORED for info in members):
        raise ValueError("it is compressed, as no checkpoint is")
    if sum(info.compress_size for info in members) > size:
        raise ValueError("its members overlap")
    # torch's reader takes DATA.PKL for data.pkl, and reads the name as it is written
    names = [info.orig_filename.lower() for info in members]
    if len(set(names)) < len(names):
        raise ValueError("it has a member twice")
    pickles = [info for info, name in zip(members, names) if name.endswith(".pkl")]
    if len(pickles) != 1 or pickles[0].orig_filename.rpartition("/")[2] != "data.pkl":
        raise ValueError("it has not one pickle")
    if pickles[0].file_size > _LARGEST:
        raise ValueError("its pickle is too large")
    _refuse_other_end(file, size, len(members))
    corrupted = archive.testzip()
    if corrupted is not None:
        raise ValueError(f"the checksum of {corrupted} is wrong")
    return pickles[0]


def _refuse_other_end(file: Any, size: int, count: int) -> None:
    """Refuse an archive whose directory might be found in two places, as readers look for it."""
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
    """Refuse the format of torch < 0.4, whatever else the file may be as well."""
    file.seek(0)
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return
    raise ValueError("it is a tar archive")


def _names(file: Any, pickles: int) -> set[tuple[str, str]]:
    """Return module and name of every global that consecutive pickles ask for."""
    found: set[tuple[str, str]] = set()
    operations = chain.from_iterable(pickletools.genops(file) for _ in range(pickles))
    for count, (code, argument, _) in enumerate(operations):
        if count == _MOST:
            raise ValueError(f"its pickle has more than {_MOST} operations")
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            found.add((module, name))
        elif code.name in _REFUSED:
            raise NotAllowedError(f"{code.name} is not allowed in a checkpoint")
    return found
