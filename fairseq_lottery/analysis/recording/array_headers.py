"""``map_array``: a ``.npy`` file mapped into memory, after its header and its size fit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain

#: first bytes of a file of numpy.save (format 1.0), and most bytes of its header
_MAGIC, _LONGEST = b"\x93NUMPY\x01\x00", 4096


def map_array(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an array that is mapped into memory.

    Args:
        path: a file of ``numpy.save``, or a link to one.
        shape, dtype: what it must have.

    Raises:
        LotteryError: the file is missing, is not a regular file, is not an array, has another shape
            or type, or is truncated.
    """
    if os.path.lexists(path) and not is_plain(path):
        raise LotteryError(f"{path} cannot be read (it is not a regular file); record it again")
    try:
        with open(path, "rb") as file:
            start = file.read(10)
            if start[:8] != _MAGIC or int.from_bytes(start[8:], "little") > _LONGEST:
                raise ValueError("it is not an array of numpy.save")
            file.seek(len(_MAGIC))
            found, is_fortran, stored = np.lib.format.read_array_header_1_0(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LotteryError(f"{path} cannot be read ({reason}); record it again") from error
    if found != shape or stored != np.dtype(dtype) or (is_fortran and len(shape) > 1):
        raise LotteryError(
            f"{path} has shape {found} and type {stored}, expected {shape} and {dtype}; record it"
            " again"
        )
    expected = offset + stored.itemsize * int(np.prod(shape, dtype=object))
    if size != expected:
        raise LotteryError(f"{path} has {size} bytes, expected {expected}; record it again")
    return np.memmap(path, stored, "r", offset, shape)
