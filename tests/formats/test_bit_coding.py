import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.compact.bit_coding import coder_of, decode, encode


def mask(size, ones, seed=0):
    found = np.zeros(size, bool)
    found[np.random.default_rng(seed).choice(size, ones, replace=False)] = True
    return found


def counts(arrays):
    return [a.size for a in arrays], [int(np.count_nonzero(a)) for a in arrays]


def entropy(arrays):
    """Bytes that arrays of independent bits of their own shares cannot go below on average."""
    bits = 0.0
    for length, ones in zip(*counts(arrays)):
        for share in (ones / length, 1 - ones / length):
            bits -= length * share * math.log2(share) if share else 0
    return bits / 8


@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98])
def test_within_a_few_thousandths_of_the_entropy(sparsity):
    size = 512 * 512
    arrays = [mask(size, round((1 - sparsity) * size), seed) for seed in range(6)]
    coder = coder_of(counts(arrays)[1][0], size)
    stream, sizes = encode(arrays, coder)
    assert 1 < len(stream) / entropy(arrays) < 1.012
    for found, array in zip(decode(stream, coder, *counts(arrays), sizes), arrays):
        assert np.array_equal(found, array)


@given(st.data())
@PROPERTY
def test_decoded_equals_encoded(data):
    """Whatever the lengths, empty, full and dead ones and single rows among them."""
    coder = data.draw(st.sampled_from(["bits", "gaps"]))
    arrays = []
    for _ in range(data.draw(st.integers(0, 4))):
        size = data.draw(st.integers(0, 5000))
        ones = data.draw(st.integers(0, size))
        if data.draw(st.booleans()):
            ones = min(size, data.draw(st.integers(0, 20)))
        if coder_of(ones, size) == coder:
            arrays.append(mask(size, ones, data.draw(st.integers(0, 9))))
    stream, sizes = encode(arrays, coder)
    found = list(decode(stream, coder, *counts(arrays), sizes))
    assert len(found) == len(arrays)
    for one, array in zip(found, arrays):
        assert one.dtype == bool and np.array_equal(one, array)


def test_gaps_are_coded_as_written_down():
    array = np.zeros(2000, bool)
    array[[0, 1, 256, 257 + 255, 1500]] = True
    stream, sizes = encode([array], "gaps")
    # 0; 0; 254; 255 is 255 and 0; 987 is 255 three times and 222
    expected = bytes([0, 0, 254, 255, 0, 255, 255, 255, 222])
    assert zlib.decompressobj(-15).decompress(stream) == expected
    assert sizes == [9]
    flipped, _ = encode([~array], "gaps")
    assert flipped == stream, "it is the rarer value whose places are coded"


@pytest.mark.parametrize(
    ("ones", "size", "coder"),
    [(0, 10, "bits"), (10, 10, "bits"), (5, 10, "bits"), (2, 10, "gaps"), (8, 10, "gaps"),
     (1, 4096, "gaps"), (1, 5000, "bits"), (0, 0, "bits")],
)  # fmt: skip
def test_the_coder_follows_from_the_counts(ones, size, coder):
    assert coder_of(ones, size) == coder


ARRAY = mask(4000, 200)
STREAM, SIZES = encode([ARRAY], "gaps")


@pytest.mark.parametrize(
    ("stream", "lengths", "ones", "sizes", "message"),
    [
        (STREAM[:-2], [4000], [200], SIZES, "truncated|longer"),
        (STREAM[:20], [4000], [200], SIZES, "truncated"),
        (b"", [4000], [200], SIZES, "shorter"),
        (STREAM + b"x", [4000], [200], SIZES, "longer"),
        (b"\xff" * 200, [4000], [200], SIZES, "malformed"),
        (STREAM, [4000], [201], [SIZES[0] + 1], "truncated"),
        (STREAM, [4000], [199], [SIZES[0] - 1], "expected 199|longer|exceeds"),
        (STREAM, [1000], [200], SIZES, "exceeds"),
        (STREAM, [2**62], [2**62 - 200], SIZES, "inconsistent"),
        (STREAM, [2**40], [2**38], [2**38], "shorter"),
        (STREAM, [4000], [-1], SIZES, "inconsistent"),
        (STREAM, [4000], [4001], SIZES, "inconsistent"),
        (STREAM, [4000], [2000], SIZES, "inconsistent"),
        (STREAM, [4000, 1], [200], SIZES, "inconsistent"),
    ],
)
def test_malformed_streams(stream, lengths, ones, sizes, message):
    with pytest.raises(LotteryError, match=message):
        list(decode(stream, "gaps", lengths, ones, sizes))


@pytest.mark.parametrize("size", [2**40, 2**62])
def test_no_memory_is_taken_on_a_streams_word(size):
    stream, _ = encode([np.zeros(80, bool)], "bits")
    with pytest.raises(LotteryError, match="shorter"):
        list(decode(stream, "bits", [size], [0], [size // 8]))


@given(st.binary(max_size=60), st.sampled_from(["bits", "gaps"]), st.integers(0, 4000), st.data())
@PROPERTY
def test_any_bytes_are_decoded_or_refused(stream, coder, length, data):
    ones = data.draw(st.integers(0, length))
    size = -(-length // 8) if coder == "bits" else data.draw(st.integers(0, length))
    try:
        (found,) = decode(stream, coder, [length], [ones], [size])
        assert np.count_nonzero(found) == ones
    except LotteryError:
        pass
