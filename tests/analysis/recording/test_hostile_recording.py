"""Recordings of strangers: every number, name and file is checked before it is used."""

import json
import os

import numpy as np
import pytest
from analysis.written_recordings import write_encoder_maps, write_random

from fairseq_lottery.analysis.recording.recording import KINDS, Recording
from fairseq_lottery.errors import LotteryError


@pytest.fixture
def folder(tmp_path):
    return write_random(tmp_path / "recording", pruned=[("enc_dec", 2, 3)]).folder


def refused(folder):
    with pytest.raises(LotteryError) as error:
        Recording.open(folder)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


def change(folder, **entries):
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, **entries}))


def both(value, keys=("encoder", "decoder")):
    return dict.fromkeys(keys, value)


@pytest.mark.parametrize(("entries", "names"), [
    ({"layers": {"encoder": 2}}, "layers"),
    ({"layers": {**both(2), "x" * 5000: 2}}, "layers"),
    ({"layers": both(0)}, "layers"),
    ({"layers": both(10**9)}, "layers"),
    ({"layers": both(True)}, "layers"),
    ({"layers": both(2.0)}, "layers"),
    ({"width": {"decoder": 6}}, "width"),
    ({"width": both(10**15)}, "width"),
    ({"width": both(2**20)}, "activations.encoder.1.npy"),
    ({"width": both(-6)}, "width"),
    ({"heads": both(3, ("enc_self", "dec_self"))}, "heads"),
    ({"heads": both(3, (*KINDS, "other"))}, "heads"),
    ({"heads": both(10**12, KINDS)}, "heads"),
    ({"heads": both(1024, KINDS), "pruned_heads": []}, "attention.enc_self.1.npy"),
    ({"heads": both(2, KINDS), "pruned_heads": []}, "attention.enc_self.1.npy"),
    ({"counts": both(32, ("source",))}, "counts"),
    ({"counts": both(2**60, ("source", "target"))}, "counts"),
    ({"counts": both(2**28, ("source", "target"))}, "activations.encoder.1.npy"),
    ({"words": {}}, "words"),
    ({"words": both("0" * 64, ("source", "target"))}, "words.source.txt"),
    ({"subwords": {"source": "none"}}, "subwords"),
    ({"of": 10**15}, "of"),
    ({"of": 0}, "of"),
    ({"of": 3}, "sentences"),
    ({"sentences": []}, "sentences"),
    ({"sentences": [0, 1, 2, 2]}, "sentences"),
    ({"sentences": [0, 1, 2, -3]}, "sentences"),
    ({"sentences": [0, 1, 2]}, "words.source.txt"),
    ({"precision": "float64"}, "precision"),
    ({"precision": "float16"}, "activations.encoder.1.npy"),
    ({"pruned_heads": [{"kind": "enc_dec", "layer": 3, "head": 1}]}, "pruned_heads"),
    ({"pruned_heads": [{"kind": "enc_dec", "layer": 1, "head": 4}]}, "pruned_heads"),
    ({"pruned_heads": [{"kind": "enc_dec", "layer": 1, "head": 1}] * 2}, "pruned_heads"),
    ({"pruned_heads": [{"kind": "x", "layer": 1, "head": 1}]}, "pruned_heads"),
])  # fmt: skip
def test_numbers_and_names_of_the_record(folder, entries, names):
    change(folder, **entries)
    assert names in refused(folder)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"pruned_heads": [{"kind": "dec_self", "layer": 1, "head": 1}]}, "pruned_heads"),
        ({"pruned_heads": [{"kind": "enc_self", "layer": 2, "head": 1}]}, "pruned_heads"),
        ({"words": {"target": "0" * 64}}, "words"),
        ({"words": {}}, "words"),
        ({"layers": both(1)}, "layers"),
        ({"layers": {"decoder": 1}}, "layers"),
        ({"heads": both(2, ("enc_self", "enc_dec"))}, "heads"),
        ({"heads": {"enc_self": 3}}, "attention.enc_self.1.npy"),
        ({"counts": {"source": 6}}, "words.source.txt"),  # its delimiters are not words
    ],
)
def test_numbers_and_names_of_the_record_of_an_encoder(tmp_path, entries, names):
    texts = ["<s> a b </s>", "<s> c </s> </s> d </s>"]
    folder = write_encoder_maps(tmp_path / "r", texts, even_tokens).folder
    assert Recording.open(folder).words("source") == [["a", "b"], ["c", "d"]]
    change(folder, **entries)
    assert names in refused(folder)


def even_tokens(kind, layer, place, heads, queries, keys):
    return np.full((heads, queries, keys), 1 / keys)


def test_the_record_of_the_fixture_is_valid(folder):
    assert Recording.open(folder).is_pruned("enc_dec", 2, 3)


def header(shape, dtype="<f4", length=118):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length).encode()


NAMES = ("activations.encoder.1.npy", "attention.enc_dec.2.npy", "norms.dec_self.1.npy")


@pytest.mark.parametrize("content", [
    b"",
    b"\x93NUMPY",
    b"PK\x03\x04 a zip archive",
    b"\x80\x04\x95 a pickle",
    header((1 << 40, 1 << 20)),
    header("(" * 100 + ")" * 100, length=400),
    header("(32, 6)", dtype="|O"),
    header("(32, 6)", dtype=">f4"),
    header("(32, 6)") + b"short",
    header("(True, {})"),
    header("(32, 6)", length=65000),
])  # fmt: skip
@pytest.mark.parametrize("name", NAMES)
def test_content_of_arrays(folder, name, content):
    (folder / name).write_bytes(content)
    assert name in refused(folder)


@pytest.mark.parametrize("name", [*NAMES, "words.source.txt", "words.target.txt"])
def test_files_that_are_not_regular(folder, tmp_path, name):
    path = folder / name
    content = path.read_bytes()
    (tmp_path / "elsewhere").write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    for target in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        path.unlink()
        path.symlink_to(target)
        assert name in refused(folder)
    path.unlink()
    os.mkfifo(path)
    assert name in refused(folder)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    Recording.open(folder)


@pytest.mark.parametrize(("side", "content"), [
    ("source", b"\xff\n"),
    ("target", b"a b c\n"),
    ("source", b""),
])  # fmt: skip
def test_content_of_words(folder, side, content):
    (folder / f"words.{side}.txt").write_bytes(content)
    assert f"words.{side}.txt" in refused(folder)


def test_other_words_of_equal_number(folder):
    path = folder / "words.target.txt"
    path.write_bytes(path.read_bytes().replace(b"t0", b"T0"))
    assert "words.target.txt" in refused(folder)


def test_a_transposed_array(folder):
    stored = np.load(folder / NAMES[0])
    np.save(folder / NAMES[0], np.asfortranarray(stored))
    assert NAMES[0] in refused(folder)


def test_a_missing_array_is_refused_when_it_is_read(folder):
    (folder / NAMES[0]).unlink()
    change(folder, layers=both(3))
    recording = Recording.open(folder)
    for layer in (1, 3):
        with pytest.raises(LotteryError, match=f"activations.encoder.{layer}.npy"):
            recording.activations("encoder", layer)
