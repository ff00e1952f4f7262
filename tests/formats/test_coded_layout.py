import json
import zlib

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from small import PROPERTY, SHAPES

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container, mask_from_state, mask_to_state
from fairseq_lottery.formats.compact.coded_layout import pack, unpack
from fairseq_lottery.formats.mask_state import scatter, survivors
from fairseq_lottery.masks import Mask

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64]


def contents(seed=0, keep=0.5, reset="rewind"):
    """What a ticket's file holds: packed masks, survivors, a vocabulary; and its record."""
    generator = torch.Generator().manual_seed(seed)
    tensors, shapes = {}, {}
    for name, shape in SHAPES.items():
        if len(shape) == 1:
            tensors[f"values/{name}"] = torch.randn(shape, generator=generator)
            continue
        mask = torch.rand(shape, generator=generator) < keep
        values = torch.randn(int(mask.sum()), generator=generator)
        bits = np.packbits(mask.numpy().reshape(-1), bitorder="little")
        tensors[f"mask/{name}"] = torch.from_numpy(bits)
        tensors[f"values/{name}"] = values.sign() * 0.25 if reset == "sign" else values
        shapes[name] = list(shape)
    tensors["dictionary/source"] = torch.arange(40, dtype=torch.uint8)
    return tensors, {"update": 5, "mask": {"shapes": shapes}}


def same_bits(a, b):
    alike = a.dtype == b.dtype and a.shape == b.shape
    return alike and a.reshape(-1).numpy().tobytes() == b.reshape(-1).numpy().tobytes()


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.1, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("reset", ["rewind", "sign"])
def test_there_and_back(keep, reset):
    tensors, record = contents(keep=keep, reset=reset)
    coded = pack(tensors, record)
    assert all(one.dtype == torch.uint8 and one.dim() == 1 for one in coded.values())
    found, back = unpack(coded)
    assert back == record and found.keys() == tensors.keys()
    assert all(same_bits(found[name], tensors[name]) for name in tensors)
    again = pack(found, back)
    assert all(torch.equal(again[name], coded[name]) for name in coded), "same content, same bytes"


@given(st.data())
@PROPERTY
def test_any_tensors_there_and_back(data):
    tensors = {}
    for number in range(data.draw(st.integers(0, 5))):
        dtype = data.draw(st.sampled_from(TYPES))
        shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
        size = int(np.prod(shape, dtype=int)) * torch.empty(0, dtype=dtype).element_size()
        raw = data.draw(st.binary(min_size=size, max_size=size))
        flat = torch.from_numpy(np.frombuffer(raw, np.uint8).copy())
        whole = flat.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)
        tensors[f"values/{number}"] = whole
    found, _ = unpack(pack(tensors, {}))
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        a, b = found[name], tensor
        assert a.shape == b.shape and a.dtype == b.dtype
        assert not a.numel() or torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (a, b)))


def test_one_magnitude_takes_one_bit_a_value():
    signs = torch.randn(80_000).sign()
    coded = pack({"values/w": signs * 0.3, "values/zero": signs * 0}, {})
    assert {name: stream.numel() for name, stream in coded.items() if name != "layout"} == {
        "signs": 20_000
    }
    found, _ = unpack(coded)
    assert same_bits(found["values/w"], signs * 0.3)
    assert same_bits(found["values/zero"], signs * 0), "the signs of zeros too"


def test_other_types_are_refused():
    with pytest.raises(LotteryError, match="values/x has type torch.float64"):
        pack({"values/x": torch.zeros(3, dtype=torch.float64)}, {})


def changed(change):
    """The streams of a ticket with its layout changed."""
    tensors, record = contents(keep=0.1)
    coded = dict(pack(tensors, record))
    frame = coded["layout"].numpy().tobytes()
    layout = json.loads(zstandard.ZstdDecompressor().decompress(frame))
    change(layout, coded)
    text = zstandard.ZstdCompressor().compress(json.dumps(layout).encode())
    if "layout" in coded:
        coded["layout"] = torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    return coded


FC1 = "encoder.layers.0.fc1.weight"
CHANGES = {
    "no layout": lambda layout, coded: coded.pop("layout"),
    "no record": lambda layout, coded: layout.pop("record"),
    "no masks": lambda layout, coded: layout.pop("masks"),
    "a list for a dictionary": lambda layout, coded: layout.update(planes=[]),
    "an unknown coder": lambda layout, coded: layout["masks"].update(runs=[]),
    "an unknown type": lambda layout, coded: layout["planes"].update(float8=[["x", [1]]]),
    "a missing stream": lambda layout, coded: coded.pop("float32.2"),
    "an unknown stream": lambda layout, coded: coded.update(more=torch.zeros(1)),
    "a name twice": lambda layout, coded: layout["planes"]["uint8"].__setitem__(
        0, [layout["planes"]["float32"][0][0], [40]]
    ),
    "no shape": lambda layout, coded: layout["record"]["mask"]["shapes"].pop(FC1),
    "a shape that is none": lambda layout, coded: layout["record"]["mask"]["shapes"].update(
        {FC1: [-4, 6]}
    ),
    "a shape of floats": lambda layout, coded: layout["record"]["mask"]["shapes"].update(
        {FC1: [4.0, 6.0]}
    ),
    "terabytes of weights": lambda layout, coded: layout["record"]["mask"]["shapes"].update(
        {FC1: [2**20, 2**24]}
    ),
    "terabytes of values": lambda layout, coded: layout["planes"]["float32"][0].__setitem__(
        1, [2**40]
    ),
    "a value more": lambda layout, coded: layout["planes"]["float32"][-1].__setitem__(1, [9000]),
    "a value less": lambda layout, coded: layout["planes"]["float32"].pop(),
    "a mask less": lambda layout, coded: layout["masks"]["gaps"].pop(),
    "a row that says more": lambda layout, coded: layout["planes"]["uint8"][0].append(1),
    "a name that is a number": lambda layout, coded: layout["planes"]["uint8"][0].__setitem__(0, 7),
    "a count that is true": lambda layout, coded: layout["masks"]["bits"][0].__setitem__(1, True),
    "a magnitude with a sign": lambda layout, coded: layout["signs"].append(["x", [0], 2**31]),
    "a magnitude of 33 bits": lambda layout, coded: layout["signs"].append(["x", [0], 2**32]),
    "a part more": lambda layout, coded: layout.update(more={}),
    "a hundred dimensions": lambda layout, coded: layout["planes"]["float32"][0].__setitem__(
        1, [1] * 100
    ),
    "a stream of floats": lambda layout, coded: coded.update({"uint8.0": coded["uint8.0"].float()}),
    "a stream that goes on": lambda layout, coded: coded.update(
        {"mask.gaps": torch.cat([coded["mask.gaps"], coded["uint8.0"]])}
    ),
    "a frame with something behind it": lambda layout, coded: coded.update(
        {"uint8.0": torch.cat([coded["uint8.0"], coded["uint8.0"][:1]])}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_malformed_layouts(change):
    with pytest.raises(LotteryError) as refusal:
        unpack(changed(CHANGES[change]))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"record": {}, "record": {}}', "is given twice"),
        (b'{"record": NaN}', "NaN is not a number"),
        (b'{"record": {"\\ud800": 1}}', "malformed"),
        (b"\xff", "malformed"),
        (b"[]", "its layout is a list"),
    ],
)
def test_layouts_that_two_readers_would_not_read_alike(text, said):
    stream = np.frombuffer(zstandard.ZstdCompressor().compress(text), np.uint8).copy()
    with pytest.raises(LotteryError, match=said):
        unpack({"layout": torch.from_numpy(stream)})


def test_more_pruned_weights_than_a_file_may_stand_for():
    """Half a billion of them would be 65 kB of deflate, and as many bytes once they are read."""
    tensors, record = {"mask/w": torch.zeros(8, dtype=torch.uint8)}, {"mask": {"shapes": {}}}
    record["mask"]["shapes"]["w"] = [8, 8]
    coded = pack(tensors, record)
    side = 1 << 14
    layout = json.loads(zstandard.ZstdDecompressor().decompress(coded["layout"].numpy().tobytes()))
    layout["record"]["mask"]["shapes"]["w"] = [side, 2 * side]
    layout["masks"]["bits"] = [["w", 0, side * side // 4]]
    text = zstandard.ZstdCompressor().compress(json.dumps(layout).encode())
    stream = zlib.compress(bytes(side * side // 4), 9)[2:-4]
    assert len(stream) < 66_000
    forged = {"layout": text, "mask.bits": stream}
    with pytest.raises(LotteryError, match="536870912 weights in a file of 65"):
        unpack({n: torch.from_numpy(np.frombuffer(s, np.uint8).copy()) for n, s in forged.items()})


def test_one_survivor_in_four_thousand_is_no_bomb():
    """The fewest bytes for a weight that a file of ours has."""
    size = 4000 * 4096
    mask = np.zeros(size, bool)
    mask[::4096] = True
    record = {"mask": {"shapes": {"w": [4000, 4096]}}}
    bits = torch.from_numpy(np.packbits(mask, bitorder="little"))
    tensors = {"mask/w": bits, "values/w": torch.ones(4000)}
    coded = pack(tensors, record)
    assert size / sum(stream.numel() for stream in coded.values()) < 2048
    found, _ = unpack(coded)
    assert torch.equal(found["mask/w"], tensors["mask/w"])


def test_what_could_not_be_read_again_is_not_written():
    with pytest.raises(LotteryError, match="too uniform for a compact file .it declares"):
        pack({"values/x": torch.zeros(65 << 20, dtype=torch.uint8)}, {})


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"note": "x" * (8 << 20)}, "its layout exceeds"),
        ({"note": 2**64}, "is beyond 64 bits"),
        ({"note": "\ud800"}, "surrogates not allowed"),
        ({"note": float("nan")}, "NaN is not a number"),
    ],
)
def test_settings_that_no_reader_takes_are_not_written(settings, said):
    with pytest.raises(LotteryError, match=f"names and settings .*({said})"):
        pack({}, {"settings": settings})
    coded = pack({}, {"settings": {"note": "x" * ((8 << 20) - 100)}})
    assert len(unpack(coded)[1]["settings"]["note"]) == (8 << 20) - 100


def test_an_endless_layout():
    bomb = zstandard.ZstdCompressor().compress(b" " * (1 << 27))
    assert len(bomb) < 10_000
    with pytest.raises(LotteryError, match="its layout exceeds 8388608"):
        unpack({"layout": torch.from_numpy(np.frombuffer(bomb, np.uint8).copy())})


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 1000))
@PROPERTY
def test_real_masks_of_any_size_come_back(tmp_path_factory, rows, columns, density, seed):
    """As tickets hold them: sizes that eight does not divide, and bits where ``Mask`` puts them."""
    generator = torch.Generator().manual_seed(seed)
    mask = Mask({"a": torch.rand((rows, columns), generator=generator) < density})
    weight = torch.randn((rows, columns), generator=generator)
    state = mask_to_state(mask)
    tensors = {"mask/a": state["bits"]["a"], "values/a": survivors(mask, "a", weight)}
    path = tmp_path_factory.mktemp("masks") / "a.safetensors"
    container.save(path, "ticket", tensors, {"mask": {"shapes": state["shapes"]}}, compact=True)
    found, record = container.load(path, "ticket")
    again = mask_from_state({**record["mask"], "protected": {}, "bits": {"a": found["mask/a"]}})
    assert again == mask
    assert torch.equal(scatter(path, again, "a", found["values/a"]), weight * mask["a"])
