"""Coding bits near their entropy with nothing but deflate's Huffman coder.

Deflate is asked for Huffman codes alone (no search for repetitions): a mask has none, and
what is left is fast and in every language's library. What matters is which bytes it sees:

* where both values are common, the bits themselves, eight to a byte: the Huffman code of 256
  symbols comes within half a percent of their entropy;
* where one is rare, the gaps between its places, a byte each: gaps of independent bits are
  geometrically distributed, and 255 stands for 255 more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.compact.coded_streams import Deflated

#: the rarer value's share below which its gaps are coded
RARE = 0.22
#: ... and below which bits are coded after all: so every stream tells how much it may expand to
RAREST = 2.0**-12
#: deflate cannot expand a byte to more (its format's limit)
_EXPANSION = 1032
_ESCAPE = 255


def coder_of(ones: int, size: int) -> str:
    """``bits``, or ``gaps`` where one of the values is rare but not all but absent."""
    rarer = min(ones, size - ones) / max(size, 1)
    return "gaps" if RAREST <= rarer < RARE else "bits"


def packed(array: np.ndarray) -> np.ndarray:
    """Bools as bytes, eight to one, the first in the lowest bit: as ``Mask.pack`` does."""
    return np.packbits(array, bitorder="little")


def unpacked(symbols: np.ndarray, length: int) -> np.ndarray:
    """The inverse of ``packed``."""
    return np.unpackbits(symbols, count=length, bitorder="little").astype(bool)


def encode(arrays: Sequence[np.ndarray], coder: str) -> tuple[bytes, list[int]]:
    """One stream for all arrays (bool, 1-D), and how many bytes of it, uncoded, belong to each."""
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
    """The arrays again, one after the other; only one at a time is in memory.

    Args:
        lengths: of the arrays.
        ones: how many of each are true.
        sizes: as ``encode`` returned them.
    """
    # before anything is allocated: a stream cannot hold more than its bytes allow
    if not len(lengths) == len(ones) == len(sizes):
        raise LotteryError("its coded mask is inconsistent")
    if sum(sizes) > len(stream) * _EXPANSION:
        raise LotteryError("its coded mask is shorter than it says")
    for length, count, size in zip(lengths, ones, sizes):
        least, most = min(count, length - count), length
        if coder == "bits":
            least = most = -(-length // 8)
        fits = 0 <= count <= length and coder_of(count, length) == coder
        if not fits or not least <= size <= most:
            raise LotteryError("its coded mask is inconsistent")
    reader = Deflated(stream)
    try:
        for length, count, size in zip(lengths, ones, sizes):
            symbols = np.frombuffer(reader.read(size), np.uint8)
            if symbols.size != size:
                raise LotteryError("its coded mask is cut short")
            if coder == "bits":
                array = unpacked(symbols, length)
            else:
                array = _from_gaps(symbols, length, count)
            if np.count_nonzero(array) != count:
                raise LotteryError("its coded mask keeps another number of weights than it says")
            yield array
        if not reader.is_over():
            raise LotteryError("its coded mask is cut short, or longer than it says")
    except zlib.error as error:
        raise LotteryError(f"its coded mask is malformed ({error})") from error


def _to_gaps(array: np.ndarray) -> np.ndarray:
    """The gaps before each of the rarer value's places, ``_ESCAPE`` for each 255 in one."""
    rare = array if 2 * np.count_nonzero(array) <= array.size else ~array
    gaps = np.diff(np.flatnonzero(rare), prepend=-1) - 1
    escapes = gaps // _ESCAPE
    symbols = np.full(gaps.size + int(escapes.sum()), _ESCAPE, np.uint8)
    symbols[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return symbols


def _from_gaps(symbols: np.ndarray, length: int, ones: int) -> np.ndarray:
    rare_is_one = 2 * ones <= length
    last = symbols != _ESCAPE
    places = np.cumsum(symbols, dtype=np.int64)[last]
    places += np.arange(places.size)
    if places.size and (places[-1] >= length or not last[-1]):
        raise LotteryError("its coded mask reaches beyond its matrix")
    array = np.full(length, not rare_is_one)
    array[places] = rare_is_one
    return array
