import json
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from small import PROPERTY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container

TENSORS = {
    "b/float": torch.tensor([[0.5, -0.0], [1e-40, 3e38]]),
    "a/half": torch.tensor([0.1, 65504.0]).half(),
    "c/bf16": torch.tensor([1.0, 2.0]).bfloat16(),
    "d/bits": torch.tensor([7, 255], dtype=torch.uint8),
    "e/bool": torch.tensor([True, False]),
    "f/step": torch.tensor(12),
    "g/empty": torch.zeros(0),
}
RECORD = {"update": 5, "seed": None, "name": "Übung", "nested": {"b": [1, 2.5], "a": True}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


def same(a, b):
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].shape == b[n].shape and torch.equal(a[n], b[n]) for n in a
    )


def test_what_is_saved_is_loaded(path):
    container.save(path, "thing", TENSORS, RECORD)
    tensors, record = container.load(path, "thing")
    assert same(tensors, TENSORS) and record == RECORD
    assert tensors["b/float"].view(torch.int32)[0, 1] == -(2**31), "negative zero"
    assert container.kind_of(path) == "thing"


def test_the_same_content_gives_the_same_bytes(path):
    container.save(path, "thing", TENSORS, RECORD)
    first = path.read_bytes()
    other = {name: TENSORS[name] for name in reversed(list(TENSORS))}
    other["b/float"] = TENSORS["b/float"].t().contiguous().t()
    container.save(path, "thing", other, dict(reversed(RECORD.items())))
    assert path.read_bytes() == first


def test_the_digest_is_fixed():
    tensors = {"w": torch.tensor([[1.0, -2.0]]), "bits": torch.tensor([3], dtype=torch.uint8)}
    assert (
        container.digest(tensors, {"seed": 1})
        == "80e0a7daf19e78cd352ad9d0fd40d0e7934824e11cddc4615e233e0f76e70361"
    )


@pytest.mark.parametrize(
    "tensors, record",
    [
        ({"w": torch.tensor([1.0, 3.0])}, {"seed": 1}),
        ({"v": torch.tensor([1.0, 2.0])}, {"seed": 1}),
        ({"w": torch.tensor([[1.0, 2.0]])}, {"seed": 1}),
        ({"w": torch.tensor([1.0, 2.0]).view(torch.int32)}, {"seed": 1}),
        ({"w": torch.tensor([1.0, 2.0])}, {"seed": 2}),
    ],
    ids=["value", "name", "shape", "type", "record"],
)
def test_the_digest_sees(tensors, record):
    assert container.digest(tensors, record) != container.digest(
        {"w": torch.tensor([1.0, 2.0])}, {"seed": 1}
    )


@pytest.fixture
def small(path):
    """The bytes of a file with little in it, so that each of them can be tried."""
    container.save(path, "thing", {"w": torch.tensor([1.0, -2.0]), "v": torch.ones(1)}, {"seed": 1})
    return path.read_bytes()


@pytest.mark.parametrize("flip", [0b1, 0b10000000])
def test_no_flipped_byte_goes_unnoticed(path, small, flip):
    for position in range(len(small)):
        malformed = bytearray(small)
        malformed[position] ^= flip
        path.write_bytes(malformed)
        with pytest.raises(LotteryError):
            container.load(path, "thing")


def test_no_truncated_file_is_loaded(path, small):
    for length in range(len(small)):
        path.write_bytes(small[:length])
        with pytest.raises(LotteryError, match="is malformed or was not written"):
            container.load(path, "thing")
    path.write_bytes(small + b"\0")
    with pytest.raises(LotteryError, match="is malformed"):
        container.load(path, "thing")


def rewritten(small, change):
    """The file with another header of ours, well-formed."""
    length = struct.unpack("<Q", small[:8])[0]
    outer = json.loads(small[8 : 8 + length])
    ours = json.loads(outer["__metadata__"]["fairseq_lottery"])
    outer["__metadata__"]["fairseq_lottery"] = json.dumps(change(ours))
    header = json.dumps(outer).encode()
    return struct.pack("<Q", len(header)) + header + small[8 + length :]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            lambda ours: {**ours, "record": {"seed": 2}},
            "was changed after it was written; its digest",
        ),
        (
            lambda ours: {**ours, "kind": "other"},
            "is a file of the kind 'other', not a file of the kind 'thing'",
        ),
        (lambda ours: {**ours, "kind": 3}, "is malformed .* .its header.kind is 3"),
        (lambda ours: {**ours, "record": [1]}, "is malformed .* .its header.record is a list"),
        (lambda ours: {**ours, "digest": None}, "is malformed .* .its header has no digest"),
        (lambda ours: {k: v for k, v in ours.items() if k != "kind"}, "is malformed .* no kind"),
        (lambda ours: list(ours), "is malformed"),
        (lambda ours: {"version": 4}, "version 4, expected 1 or 3; update"),
        (lambda ours: {"version": 2}, "version 2, expected 1 or 3"),
    ],
)
def test_a_header_of_another_kind_is_refused(path, small, change, sentence):
    path.write_bytes(rewritten(small, lambda ours: ours))
    container.load(path, "thing")
    path.write_bytes(rewritten(small, change))
    with pytest.raises(LotteryError, match=sentence):
        container.load(path, "thing")


def test_files_of_others_are_refused(path):
    with pytest.raises(LotteryError, match="there is no file"):
        container.load(path, "thing")
    save_file({"w": torch.ones(2)}, str(path))
    with pytest.raises(LotteryError, match="was not written by fairseq-lottery"):
        container.load(path, "thing")
    for content in (b"", b"text", bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(LotteryError, match="was not written by fairseq-lottery"):
            container.kind_of(path)
    with pytest.raises(LotteryError, match="there is no file"):
        container.load(path.parent, "thing")


@PROPERTY
@given(st.binary(max_size=200))
def test_noise_is_never_loaded(tmp_path_factory, noise):
    path = tmp_path_factory.getbasetemp() / "noise.safetensors"
    path.write_bytes(noise)
    with pytest.raises(LotteryError):
        container.load(path, "thing")


def test_a_write_that_fails_leaves_the_old_file(path, small, monkeypatch):
    def fail(tensors, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half")
        raise container.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(container, "save_file", fail)
    with pytest.raises(LotteryError, match="cannot be written: I/O error: No space left"):
        container.save(path, "thing", TENSORS, RECORD)
    assert path.read_bytes() == small and list(path.parent.iterdir()) == [path]


def test_nothing_is_overwritten_unless_asked(path, small):
    with pytest.raises(LotteryError, match="exists already"):
        container.save(path, "thing", TENSORS, RECORD, overwrite=False)
    assert path.read_bytes() == small


def test_entries_are_sorted_by_part(path):
    parts = container.split(
        path, {"a/x.y": TENSORS["e/bool"], "b/x/y": TENSORS["f/step"]}, ("a", "b")
    )
    assert parts == {"a": {"x.y": TENSORS["e/bool"]}, "b": {"x/y": TENSORS["f/step"]}}
    assert container.split(path, {}, ("a",)) == {"a": {}}
    with pytest.raises(LotteryError, match="unknown entry 'c/x'"):
        container.split(path, {"c/x": TENSORS["f/step"]}, ("a", "b"))


COMPACT = {name: tensor for name, tensor in TENSORS.items() if tensor.dtype != torch.bool}


def test_a_compact_file_has_the_same_content_and_digest(path):
    plain = path.with_name("plain.safetensors")
    container.save(plain, "thing", COMPACT, RECORD)
    container.save(path, "thing", COMPACT, RECORD, compact=True)
    tensors, record = container.load(path, "thing")
    assert same(tensors, COMPACT) and record == RECORD
    assert tensors["b/float"].view(torch.int32)[0, 1] == -(2**31), "negative zero"
    assert container.kind_of(path) == "thing"
    assert container.digest_of(path) == container.digest_of(plain)
    first = path.read_bytes()
    container.save(path, "thing", COMPACT, RECORD, compact=True)
    assert path.read_bytes() == first
    container.save(path, "thing", tensors, record)
    assert path.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("place", range(40, 600, 7))
def test_a_byte_of_a_compact_file_is_changed(path, place):
    container.save(path, "thing", COMPACT, RECORD, compact=True)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x20
    path.write_bytes(content)
    try:
        tensors, record = container.load(path, "thing")
        # in a checksum of zstandard's, or in bits that round a stream up to bytes
        assert same(tensors, COMPACT) and record == RECORD
    except LotteryError as error:
        assert "\n" not in str(error)


def test_a_compact_file_without_the_library_that_reads_it(path, monkeypatch):
    container.save(path, "thing", COMPACT, RECORD, compact=True)
    monkeypatch.setattr("fairseq_lottery.environment._folder", lambda package: None)
    with pytest.raises(LotteryError, match="zstandard is not installed: "):
        container.load(path, "thing")


def headed(small, header):
    length = struct.unpack("<Q", small[:8])[0]
    return struct.pack("<Q", len(header)) + header + small[8 + length :]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda text: text.replace(b'"v":',
        b'"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":'),
         "'v' is given twice"),
        (lambda text: text.replace(b'"__metadata__":{', b'"__metadata__":{"format":"pt",'),
         "its metadata has other keys"),
        (lambda text: text.replace(b'"shape":[1]', b'"shape":[1],"strides":[1]'),
         "the entry of v is malformed"),
        (lambda text: text.replace(b'"dtype":"F32","shape":[1]', b'"dtype":"F8_E4M3","shape":[4]'),
         "v has type F8_E4M3"),
        (lambda text: text.replace(b'\\"seed\\":1', b'\\"seed\\":1,\\"seed\\":1'),
        "'seed' is given twice"),
        (lambda text: text.replace(b'\\"seed\\":1', b'\\"seed\\":NaN'), "NaN is not a number"),
        (lambda text: text.replace(b'\\"seed\\":1', b'\\"seed\\":\\"\\\\ud800\\"'), "surrogates"),
        (lambda text: text.replace(b'\\"version\\":1', b'\\"version\\":true'),
        "its version is True"),
    ],
)  # fmt: skip
def test_headers_that_can_be_read_in_two_ways_are_refused(path, small, change, sentence):
    """safetensors itself reads each of them."""
    length = struct.unpack("<Q", small[:8])[0]
    header = small[8 : 8 + length]
    assert change(header) != header
    path.write_bytes(headed(small, change(header)))
    with pytest.raises(LotteryError, match=f"is malformed .*{sentence}"):
        container.load(path, "thing")


@pytest.mark.parametrize("length", [10**8 + 1, 2**31, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_not_waited_for(path, small, length):
    path.write_bytes(struct.pack("<Q", length) + small[8:])
    with pytest.raises(LotteryError, match=f"its header of {length} bytes"):
        container.load(path, "thing")


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    """A header beyond the limit, and values beyond it."""
    path = tmp_path / "file.safetensors"
    for record in ({"x": "y" * (8 << 20)}, {"x": [[]] * (1 << 20)}, {"x": 1, "deep": _deep(60)}):
        with pytest.raises(LotteryError, match="cannot be written: it|cannot be written: its head"):
            container.save(path, "snapshot", {"w": torch.ones(2)}, record)
    assert not list(tmp_path.iterdir())


def _deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value
