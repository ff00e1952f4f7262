"""Code bits close to their entropy with the Huffman coder of deflate.

Deflate does not search for repetitions here, because masks have none; it is fast, and libraries
for it exist in every language. It codes one of two kinds of bytes:

* if both values are common: the bits, eight per byte. A Huffman code of 256 symbols comes within
  half a percent of their entropy;
* if one value is rare: the gaps between its positions, one byte each. Gaps of independent bits
  have a geometric distribution; 255 means 255 plus the next byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.compact.coded_streams import Deflated

#: share of the rarer value below which gaps are coded
RARE = 0.22
#: share below which bits are coded instead of gaps; this bounds the size of every decoded stream
RAREST = 2.0**-12
#: maximum expansion of a byte by deflate
_EXPANSION = 1032
_ESCAPE = 255


def coder_of(ones: int, size: int) -> str:
    """Return ``gaps`` if one value is rare but at least ``RAREST``, otherwise ``bits``."""
    rarer = min(ones, size - ones) / max(size, 1)
    return "gaps" if RAREST <= rarer < RARE else "bits"


def packed(array: np.ndarray) -> np.ndarray:
    """Return bools as bits in bytes, the first in the lowest bit, as in ``Mask.pack``."""
    return np.packbits(array, bitorder="little")


def unpacked(symbols: np.ndarray, length: int) -> np.ndarray:
    """Return ``length`` bools from bytes; ``packed`` is the inverse."""
    return np.unpackbits(symbols, count=length, bitorder="little").astype(bool)


def encode(arrays: Sequence[np.ndarray], coder: str) -> tuple[bytes, list[int]]:
    """Return one stream for all arrays (bool, 1-D), and the uncoded bytes of each array."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    coded, sizes = [], []
    for array in arrays:
        symbols = packed(array) if coder == "bits" else _to_gaps(array)
        coded.append(stream.compress(symbols.data))
        sizes.append(symbols.size)
    return b"".join([*coded, stream.flush()]), sizes


def decode(
    stream: bytes, coder: str, lengths: Sequence[int], ones: Sequence[int], sizes: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yield the arrays; only one is in memory at a time.

    Args:
        lengths: length of each array.
        ones: number of true entries of each array.
        sizes: uncoded bytes of each array, as returned by ``encode``.
    """
    # checked before memory is allocated
    if not len(lengths) == len(ones) == len(sizes):
        raise LotteryError("its coded mask is inconsistent")
    if sum(sizes) > len(stream) * _EXPANSION:
        raise LotteryError("its coded mask is shorter than declared")
    for length, count, size in zip(lengths, ones, sizes):
        smallest, largest = min(count, length - count), length
        if coder == "bits":
            smallest = largest = -(-length // 8)
        fits = 0 <= count <= length and coder_of(count, length) == coder
        if not fits or not smallest <= size <= largest:
            raise LotteryError("its coded mask is inconsistent")
    reader = Deflated(stream)
    try:
        for length, count, size in zip(lengths, ones, sizes):
            symbols = np.frombuffer(reader.read(size), np.uint8)
            if symbols.size != size:
                raise LotteryError("its coded mask is truncated")
            if coder == "bits":
                array = unpacked(symbols, length)
            else:
                array = _from_gaps(symbols, length, count)
            if np.count_nonzero(array) != count:
                raise LotteryError(
                    f"its coded mask keeps {np.count_nonzero(array)} weights, expected {count}"
                )
            yield array
        if not reader.is_over():
            raise LotteryError("its coded mask is truncated, or longer than declared")
    except zlib.error as error:
        raise LotteryError(f"its coded mask is malformed ({error})") from error


def _to_gaps(array: np.ndarray) -> np.ndarray:
    """Return the gaps before each position of the rarer value, ``_ESCAPE`` for each 255."""
    rare = array if 2 * np.count_nonzero(array) <= array.size else ~array
    gaps = np.diff(np.flatnonzero(rare), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    symbols = np.full(gaps.size + int(escapes.sum()), _ESCAPE, np.uint8)
    symbols[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return symbols


def _from_gaps(symbols: np.ndarray, length: int, ones: int) -> np.ndarray:
    rare_is_one = 2 * ones <= length
    last = symbols != _ESCAPE
    positions = np.cumsum(symbols, dtype=np.int64)[last]
    positions += np.arange(positions.size)
    if positions.size and (positions[-1] >= length or not last[-1]):
        raise LotteryError("its coded mask exceeds its matrix")
    array = np.full(length, not rare_is_one)
    array[positions] = rare_is_one
    return array
