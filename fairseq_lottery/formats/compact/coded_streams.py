"""Read untrusted coded streams in bounded steps, and validate their end.

The readers of the libraries accept streams that are truncated after their content, or that are
followed by other bytes.
"""

from __future__ import annotations

import zlib
from typing import Any

import zstandard

#: maximum window of a frame in bytes: the minimum that readers should support (RFC 8878, section
#: 3.1.1.1.2), four times the window of our frames
_WINDOW = 1 << 23
#: coded bytes per step; four bytes of a frame may expand to 128 KiB
_STEP = 1 << 9


class _Stream:
    """Coded bytes with their decompressor."""

    def __init__(self, coded: bytes, inflate: Any) -> None:
        self._coded, self._at, self._ready = memoryview(coded), 0, b""
        self._inflate = inflate

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or fewer at the end.

        Raises:
            zstandard.ZstdError, zlib.error: the stream is malformed, or requires too much memory.
        """
        pieces, size = [self._ready], len(self._ready)
        while size < count and self._at < len(self._coded) and not self._inflate.eof:
            pieces.append(self._inflate.decompress(self._coded[self._at : self._at + _STEP]))
            self._at += _STEP
            size += len(pieces[-1])
        content = b"".join(pieces)
        self._ready = content[count:]
        return content[:count]

    def is_over(self) -> bool:
        """Return whether all content was read, and the stream ends with its last byte."""
        surplus = self.read(1) or self._inflate.unused_data or self._at < len(self._coded)
        return self._inflate.eof and not surplus


class Frame(_Stream):
    """One zstandard frame."""

    def __init__(self, coded: bytes) -> None:
        reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        super().__init__(coded, reader.decompressobj())


class Deflated(_Stream):
    """One stream of raw deflate."""

    def __init__(self, coded: bytes) -> None:
        super().__init__(coded, zlib.decompressobj(-15))
