import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.compact.byte_planes import decode, encode

TYPES = [np.float32, np.float16, np.uint16, np.uint8, np.int64]


@given(st.data())
@PROPERTY
def test_decoded_equals_encoded_to_the_bit(data):
    dtype = np.dtype(data.draw(st.sampled_from(TYPES)))
    contents = data.draw(st.lists(st.binary(max_size=400), max_size=4))
    arrays = [
        np.frombuffer(c[: len(c) // dtype.itemsize * dtype.itemsize], dtype) for c in contents
    ]
    frames = encode(arrays)
    if arrays:
        assert len(frames) == dtype.itemsize
        found = list(decode(frames, dtype, [a.size for a in arrays]))
        assert [one.tobytes() for one in found] == [a.tobytes() for a in arrays]
        assert all(one.dtype == dtype for one in found)


def test_weights_take_less_than_their_32_bits():
    weights = np.random.default_rng(0).normal(size=200_000).astype(np.float32) * 0.05
    frames = encode([weights])
    assert sum(map(len, frames)) < 0.9 * weights.nbytes
    # two planes of mantissas cannot shrink, and cost next to nothing
    assert weights.size <= len(frames[0]) < 1.001 * weights.size


def test_the_first_plane_is_the_least_significant():
    array = np.array([0x04030201, 0x14131211], np.uint32).view(np.float32)
    planes = [zstandard.ZstdDecompressor().decompressobj().decompress(f) for f in encode([array])]
    assert planes == [b"\x01\x11", b"\x02\x12", b"\x03\x13", b"\x04\x14"]


ARRAY = np.arange(1000, dtype=np.float32)
FRAMES = encode([ARRAY])
DAMAGED = [
    ("cut", [FRAMES[0][:-5], *FRAMES[1:]], [1000], "truncated|malformed"),
    ("cut in a later plane", [*FRAMES[:3], FRAMES[3][:-5]], [1000], "truncated|malformed"),
    ("no zstandard", [b"x" * 50, *FRAMES[1:]], [1000], "malformed"),
    ("empty", [b""] * 4, [1000], "truncated"),
    ("fewer planes", FRAMES[:3], [1000], "inconsistent"),
    ("longer", FRAMES, [999], "longer"),
    ("shorter", FRAMES, [1000, 1], "truncated"),
    ("absurd", FRAMES, [2**50], "truncated"),
]


@pytest.mark.parametrize(("frames", "lengths", "message"), [d[1:] for d in DAMAGED],
                         ids=[d[0] for d in DAMAGED])  # fmt: skip
def test_malformed_frames(frames, lengths, message):
    with pytest.raises(LotteryError, match=message):
        list(decode(frames, np.dtype(np.float32), lengths))
