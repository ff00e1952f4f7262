import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY

from fairseq_lottery.formats.compact.coded_streams import Deflated, Frame


def deflate(content):
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    return coder.compress(content) + coder.flush()


CODERS = {
    "frame": (Frame, zstandard.ZstdCompressor().compress),
    "deflate": (Deflated, deflate),
}
CONTENT = bytes(range(256)) * 4000  # a million bytes
BOTH = pytest.mark.parametrize("coder", CODERS)


@BOTH
@given(st.binary(max_size=5000), st.lists(st.integers(0, 3000), max_size=6))
@PROPERTY
def test_read_in_parts(coder, content, parts):
    reader, encode = CODERS[coder]
    stream, place = reader(encode(content)), 0
    for part in parts:
        assert stream.read(part) == content[place : place + part]
        place = min(place + part, len(content))
    assert stream.read(10**6) == content[place:]
    assert stream.is_over() and stream.read(1) == b""


@BOTH
def test_more_than_a_step_at_a_time(coder):
    reader, encode = CODERS[coder]
    noise = zlib.compress(CONTENT, 0) + bytes(i * i % 251 for i in range(300_000))
    stream = reader(encode(noise))
    assert b"".join(stream.read(70_001) for _ in range(40)) == noise
    assert stream.is_over()


@BOTH
def test_what_is_left_is_seen(coder):
    reader, encode = CODERS[coder]
    whole = encode(CONTENT)
    stream = reader(whole)
    stream.read(len(CONTENT) - 1)
    assert not stream.is_over(), "a byte was not read"
    for behind in (b"\0", whole, b"x" * 100_000, b"\x50\x2a\x4d\x18\x04\0\0\0abcd"):
        stream = reader(whole + behind)
        assert stream.read(len(CONTENT)) == CONTENT and not stream.is_over()


@BOTH
def test_cut_short_anywhere(coder):
    reader, encode = CODERS[coder]
    whole = encode(CONTENT)
    for size in range(len(whole)):
        stream = reader(whole[:size])
        stream.read(len(CONTENT))
        assert not stream.is_over()
    assert reader(b"").read(9) == b"" and not reader(b"").is_over()


def test_a_window_that_no_reader_needs():
    frame = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=24, enable_ldm=True)
    ).compressobj()
    coded = frame.compress(CONTENT) + frame.flush()
    with pytest.raises(zstandard.ZstdError, match="too much memory"):
        Frame(coded).read(1)
