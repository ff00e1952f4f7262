"""Limit the size of a ZIP archive's directory, which ``zipfile`` loads without a limit."""

from __future__ import annotations

import io
import struct
from typing import IO

#: end of an archive with the place of its directory, in 32 and in 64 bits
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q4sIQI")


def refuse_large_directory(file: IO[bytes], limit: int) -> None:
    """Refuse an archive whose directory exceeds ``limit`` bytes.

    Raises:
        ValueError: the directory is larger, or the end of the archive is malformed.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - END.size - END_64.size, 0))
    tail = file.read()
    file.seek(0)
    end = tail[-END.size :]
    if len(end) < END.size or not (end.startswith(b"PK\5\6") and end.endswith(b"\0\0")):
        raise ValueError("it does not end as a ZIP archive does")
    length = END.unpack(end)[5]
    if tail[-END.size - 20 :].startswith(b"PK\6\7"):
        length = max(length if length < 2**32 - 1 else 0, END_64.unpack(tail[: END_64.size])[8])
    if length > limit:
        raise ValueError(f"its directory has {length} bytes, more than {limit}")
