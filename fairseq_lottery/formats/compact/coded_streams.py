"""Reading coded streams that anybody may have made: no further than is asked for, and to their end.

The libraries' own readers do not tell a whole stream from one that is cut short where all of its
content has been seen, or pass over what stands behind it.
"""

from __future__ import annotations

import zlib

import zstandard

#: memory that a frame may ask a reader to set aside, in bytes: what every reader should have
#: (RFC 8878, section 3.1.1.1.2), and four times what ours need
_WINDOW = 1 << 23
#: coded bytes of a frame that are expanded at a time; four of them may stand for 128 KiB
_STEP = 1 << 9
#: coded bytes of deflate that are handed over at a time; what is not used yet is copied
_PART = 1 << 16


class Frame:
    """One zstandard frame."""

    def __init__(self, coded: bytes) -> None:
        self._coded, self._at, self._ready = memoryview(coded), 0, b""
        self._inflate = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer where there are no more.

        Raises:
            zstandard.ZstdError: the frame is damaged, or asks for too much memory.
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
        """Whether all has been read, and the frame ends where its bytes end."""
        surplus = self.read(1) or self._inflate.unused_data or self._at < len(self._coded)
        return self._inflate.eof and not surplus


class Deflated:
    """One stream of raw deflate."""

    def __init__(self, coded: bytes) -> None:
        self._coded, self._at, self._rest = memoryview(coded), 0, b""
        self._inflate = zlib.decompressobj(-15)

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer where there are no more.

        Raises:
            zlib.error: the stream is damaged.
        """
        pieces, got = [], 0
        while got < count and not self._inflate.eof:
            if not self._rest:
                self._rest = bytes(self._coded[self._at : self._at + _PART])
                self._at += _PART
            piece = self._inflate.decompress(self._rest, count - got)
            self._rest = self._inflate.unconsumed_tail
            pieces.append(piece)
            got += len(piece)
            if not piece and not self._rest and self._at >= len(self._coded):
                break
        return b"".join(pieces)

    def is_over(self) -> bool:
        """Whether all has been read, and the stream ends where its bytes end."""
        surplus = self.read(1) or self._inflate.unused_data or self._at < len(self._coded)
        return self._inflate.eof and not surplus
