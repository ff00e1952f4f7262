"""Files of format version 3 that were written once: every later reader has to read them."""

import hashlib
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from safetensors.numpy import load_file

from fairseq_lottery.formats import container

GOLDEN = Path(__file__).parent / "golden"


def content(kind):
    """What is in the files: made from nothing but whole numbers, the same on every machine."""
    places = {"rare": range(0, 6000, 97), "half": range(0, 400, 2), "most": range(1, 4000),
              "none": (), "all": range(90)}  # fmt: skip
    shapes = {"rare": [60, 100], "half": [20, 20], "most": [40, 100], "none": [5, 5],
              "all": [9, 10]}  # fmt: skip
    tensors = {}
    for number, (name, kept) in enumerate(places.items()):
        mask = np.zeros(int(np.prod(shapes[name])), bool)
        mask[list(kept)] = True
        tensors[f"mask/{name}"] = torch.from_numpy(np.packbits(mask, bitorder="little"))
        values = (torch.arange(len(kept)) * (number + 3) % 257 - 128) / 64
        tensors[f"values/{name}"] = values.sign().add(0.5).sign() / 8 if kind == "sign" else values
    tensors["values/bias"] = torch.tensor([0.5, -0.0, 3e38, 1e-40])
    tensors["values/half"] = tensors["values/half"].half() if kind == "half" else values[:200]
    tensors["dictionary/source"] = torch.tensor([97, 10, 98, 10], dtype=torch.uint8)
    layout = {"shapes": shapes, "protected": {}}
    return tensors, {"mask": layout, "made": "for ever", "ü": [1, None]}


@pytest.mark.parametrize("kind", ["values", "sign", "half"])
def test_a_file_of_then_is_read_now(kind):
    tensors, record = container.load(GOLDEN / f"{kind}.safetensors", "golden")
    expected, expected_record = content(kind)
    assert record == expected_record and tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype and tensors[name].shape == tensor.shape
        assert tensors[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_a_reader_that_was_written_after_the_document():
    """``docs/format.md`` and libraries of anybody's are enough."""
    streams = {n: a.tobytes() for n, a in load_file(GOLDEN / "sign.safetensors").items()}
    layout = json.loads(zstandard.ZstdDecompressor().decompress(streams["layout"]))
    masks = {}
    for coder in ("bits", "gaps"):
        stream = zlib.decompress(streams[f"mask.{coder}"], -15)
        for name, ones, size in layout["masks"][coder]:
            part, stream = stream[:size], stream[size:]
            count = int(np.prod(layout["record"]["mask"]["shapes"][name]))
            if coder == "bits":
                masks[name] = [part[i // 8] >> i % 8 & 1 for i in range(count)]
                continue
            places, place = [], -1
            for byte in part:
                place += byte
                if byte < 255:
                    place += 1
                    places.append(place)
            rare = 1 if 2 * ones <= count else 0
            masks[name] = [rare if i in places else 1 - rare for i in range(count)]
        assert stream == b""
    expected, _ = content("sign")
    for name, mask in masks.items():
        packed = np.packbits(mask, bitorder="little").tobytes()
        assert packed == expected[f"mask/{name}"].numpy().tobytes()
    signs = np.unpackbits(np.frombuffer(streams["signs"], np.uint8))
    for name, shape, magnitude in layout["signs"]:
        size = int(np.prod(shape))
        number = np.array([magnitude], np.uint32).view(np.float32)[0]
        values = np.where(signs[:size], -number, number)
        signs = signs[size:]
        assert values.tobytes() == expected[name].numpy().tobytes()
    assert {name for name, _, _ in layout["signs"]} >= {"values/rare", "values/most"}


def test_the_digest_as_written_down():
    tensors = {"values/a": torch.tensor([1.0, 2.0, 3.0])}
    text = b'{"seed":null,"u":1}|values/a|torch.float32|(3,)|'
    text += tensors["values/a"].numpy().tobytes()
    assert container.digest(tensors, {"u": 1, "seed": None}) == hashlib.sha256(text).hexdigest()
