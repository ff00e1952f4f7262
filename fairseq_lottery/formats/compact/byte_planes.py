"""Code numbers by byte planes: all first bytes, then all second bytes, and so on.

Weights have few different exponents and random mantissas. zstandard compresses the planes of
exponents and stores the other planes unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import zstandard

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.compact.coded_streams import Frame

#: higher levels take ten times as long and save less than one percent
_LEVEL = 3
#: items per read
_PIECE = 1 << 22


def encode(arrays: Sequence[np.ndarray]) -> list[bytes]:
    """Return one zstandard frame for each byte of an item, least significant first.

    Args:
        arrays: one-dimensional arrays of one type; may be empty.
    """
    size = arrays[0].itemsize if arrays else 1
    streams = [zstandard.ZstdCompressor(level=_LEVEL).compressobj() for _ in range(size)]
    frames: list[list[bytes]] = [[] for _ in range(size)]
    for array in arrays:
        rows = array.astype(array.dtype.newbyteorder("<"), copy=False).view(np.uint8)
        for plane, (stream, frame) in enumerate(zip(streams, frames)):
            frame.append(stream.compress(np.ascontiguousarray(rows[plane::size]).data))
    return [b"".join([*frame, stream.flush()]) for stream, frame in zip(streams, frames)]


def decode(
    frames: Sequence[bytes], dtype: np.dtype, lengths: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yield the arrays; only one is in memory at a time.

    Raises:
        LotteryError: a frame is malformed, or does not contain exactly these arrays.
    """
    if len(frames) != dtype.itemsize:
        raise LotteryError("its coded values are inconsistent")
    readers = [Frame(frame) for frame in frames]
    try:
        for length in lengths:
            rows = _rows(readers, length)
            yield rows.view(dtype.newbyteorder("<"))[:, 0].astype(dtype, copy=False)
        if not all(reader.is_over() for reader in readers):
            raise LotteryError("its coded values are truncated, or longer than declared")
    except zstandard.ZstdError as error:
        raise LotteryError(f"its coded values are malformed ({error})") from error


def _rows(readers: Sequence[Frame], length: int) -> np.ndarray:
    """Return ``length`` items as rows of bytes; allocate memory only for bytes that exist."""
    pieces = []
    for start in range(0, length, _PIECE):
        count = min(_PIECE, length - start)
        piece = np.empty((count, len(readers)), np.uint8)
        for plane, reader in enumerate(readers):
            plane_bytes = reader.read(count)
            if len(plane_bytes) != count:
                raise LotteryError("its coded values are truncated")
            piece[:, plane] = np.frombuffer(plane_bytes, np.uint8)
        pieces.append(piece)
    return np.concatenate(pieces) if pieces else np.empty((0, len(readers)), np.uint8)
