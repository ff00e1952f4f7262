"""Reading coded streams that anybody may have made: no further than is asked for, and to their end.

The libraries' own readers do not tell a whole stream from one that is cut short where all of its
content has been seen, or pass over what stands behind it.
"""

from __future__ import annotations

import zlib
from typing import Any

import zstandard

#: memory that a frame may ask a reader to set aside, in bytes: what every reader should have
#: (RFC 8878, section 3.1.1.1.2), and four times what ours need
_WINDOW = 1 << 23
#: coded bytes that are expanded at a time; four of a frame may stand for 128 KiB
_STEP = 1 << 9


class _Stream:
    """Coded bytes, and what expands them."""

    def __init__(self, coded: bytes, inflate: Any) -> None:
        self._coded, self._at, self._ready = memoryview(coded), 0, b""
        self._inflate = inflate

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer where there are no more.

        Raises:
            zstandard.ZstdError, zlib.error: malformed, or a frame that asks for too much memory.
        """
        pieces, got = [self._ready], len(self._ready)
        while got < count and self._at < len(self._coded) and not self._inflate.eof:
            pieces.append(self._inflate.decompress(self._coded[self._at : self._at + _STEP]))
            self._at += _STEP
            got += len(pieces[-1])
        found = b"".join(pieces)
        self._ready = found[count:]
        return found[:count]

    def is_over(self) -> bool:
        """Whether all has been read, and the stream ends where its bytes end."""
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
