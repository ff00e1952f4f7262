"""Bad tickets and snapshots, made out of good ones."""

import json
import struct

import torch
import zstandard
from hostile.damage import cuts, flips, garbage, places, written
from safetensors.torch import load, save

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import container
from fairseq_lottery.formats.compact import coded_layout as layout

KEY = "fairseq_lottery"
NAN, INFINITE = float("nan"), float("inf")


class Good:
    """A whole file, plain or compact, taken apart: its header, its record and its tensors."""

    def __init__(self, path):
        self.name, self.bytes = path.name, path.read_bytes()
        self.length = struct.unpack("<Q", self.bytes[:8])[0]
        self.data = self.bytes[8 + self.length :]
        self.outer = json.loads(self.bytes[8 : 8 + self.length])
        self.header = json.loads(self.outer["__metadata__"][KEY])
        self.kind, self.compact = self.header["kind"], self.header["version"] == 3
        self.stored = load(self.bytes)  # of a compact file: its streams
        self.tensors, self.record = container.load(path, self.kind)

    def raw(self, outer, data=None, length=None):
        """The file with another header: a value, or bytes as they are."""
        header = outer if isinstance(outer, bytes) else json.dumps(outer).encode()
        start = struct.pack("<Q", len(header) if length is None else length)
        return written(start + header + (self.data if data is None else data), self.name)

    def headed(self, ours):
        """The file with another record of ours: a value, or text as it is."""
        text = ours if isinstance(ours, str) else json.dumps(ours)
        return self.raw({**self.outer, "__metadata__": {KEY: text}})

    def signed(self, tensors=None, record=None):
        """Other content with the digest that belongs to it, so that only its sense is wrong.

        None where it cannot be coded, so that no compact file could have it.
        """
        tensors = self.tensors if tensors is None else tensors
        record = self.record if record is None else record
        content = self.coded(tensors, record)
        if content is None:
            return None
        digest = container.digest(tensors, record)
        header = {"kind": self.kind, "version": 1, "record": record, "digest": digest}
        if self.compact:
            header = {"kind": self.kind, "version": 3, "digest": digest}
        return written(save(content, {KEY: json.dumps(header)}), self.name)

    def coded(self, tensors, record):
        """The tensors of a file with this content; None where there can be none."""
        if not self.compact:
            return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        try:
            streams = layout.pack(tensors, self.record)
        except (LotteryError, LookupError, TypeError, ValueError):
            return None
        changed = {**unpacked(streams["layout"]), "record": record}
        return {**streams, "layout": packed(json.dumps(changed))}

    def first(self, part):
        """The name of the first tensor of a part."""
        return min(name for name in self.tensors if name.startswith(part))


def packed(text):
    """A layout, a value or text as it is, as the stream that it makes."""
    text = text if isinstance(text, (str, bytes)) else json.dumps(text)
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return stream(zstandard.ZstdCompressor().compress(text))


def unpacked(stream):
    """The layout again."""
    return json.loads(zstandard.ZstdDecompressor().decompress(stream.numpy().tobytes()))


def stream(content):
    """Bytes as a tensor."""
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(
        0, dtype=torch.uint8
    )  # fmt: skip


def structural(good):
    """What is wrong with the file as safetensors lays it out."""
    ends = [entry["data_offsets"] for name, entry in good.outer.items() if name != "__metadata__"]
    start = 8 + good.length
    digest = good.bytes.index(b"digest")
    boundaries = [0, 8, 9, digest, start, *sorted({start + at for pair in ends for at in pair})]
    few = [*boundaries[:5], *boundaries[5:-1:17], boundaries[-1]]
    regions = {
        "length": (0, 8),
        "header": (8, 8 + digest - 8),
        "digest": (digest, digest + 80),
        "rest of the header": (digest + 80, start),
        "tensors": (start, len(good.bytes)),
    }
    found = {**cuts(good.bytes, few, good.name), **flips(good.bytes, regions, good.name)}
    found |= garbage(good.bytes, good.name) | places(good.name)
    found["a byte more"] = written(good.bytes + b"\0", good.name)
    for length in (0, 1, 2, good.length - 1, good.length + 1, 10**8 + 1, 2**31, 2**32, 2**63,
                   2**64 - 1):  # fmt: skip
        found[f"a header of {length} bytes"] = good.raw(good.outer, length=length)
    return found


def entries(good):
    """What is wrong with the places of tensors, and with JSON."""
    name = good.first("values/" if good.kind == "ticket" else "weights/")
    entry = good.outer[name]
    start, end = entry["data_offsets"]
    found = {}
    for shape in ([2**40, 2**20], [2**63], [2**64], [-1], [0], [], [1.5], ["4"], None, [2**31] * 9,
                  [[4]], [[]]):  # fmt: skip
        found[f"the shape {shape}"] = good.raw({**good.outer, name: {**entry, "shape": shape}})
    for offsets in ([start, end + 4], [start + 4, end + 4], [end, start], [start, start], [0, end],
                    [start, 2**62], [-4, 0], [start], [start, end, end], None, ["0", "4"],
                    [2**63, 2**63 + 4]):  # fmt: skip
        changed = {**entry, "data_offsets": offsets}
        found[f"the place {offsets}"] = good.raw({**good.outer, name: changed})
    for kind in ("F64", "F16", "I32", "U8", "F8_E4M3", "F4", "C64", "U64", "f32", "", None, 3, []):
        found[f"the type {kind}"] = good.raw({**good.outer, name: {**entry, "dtype": kind}})
    text = json.dumps(good.outer)
    first = json.dumps({name: entry})[1:-1]
    for what, header in {
        "an entry twice": text[:-1] + f", {first}}}",
        "the metadata twice": text[:-1] + ', "__metadata__": {}}',
        "no metadata": json.dumps({k: v for k, v in good.outer.items() if k != "__metadata__"}),
        "other metadata": json.dumps({**good.outer, "__metadata__": {"format": "pt"}}),
        "more metadata": text.replace('"__metadata__": {', '"__metadata__": {"format": "pt", ', 1),
        "metadata that are a text": json.dumps({**good.outer, "__metadata__": "x"}),
        "our metadata twice": text.replace('"__metadata__": {',
        f'"__metadata__": {{"{KEY}": "x", ', 1),
        "a tensor without a place": json.dumps({**good.outer, "w": {"dtype": "F32", "shape": [1]}}),
        "an entry that is a list": json.dumps({**good.outer, name: [1]}),
        "an entry with more": json.dumps({**good.outer, name: {**entry, "stride": [1]}}),
        "a tensor less": json.dumps({k: v for k, v in good.outer.items() if k != name}),
        "half a character": text.replace('"shape"', '"\\ud800"', 1),
        "a list": "[]", "a number": "1", "nothing": "null", "a text": '"x"',
        "nested deeply": '{"a":' * 5000 + "1" + "}" * 5000,
        "no JSON": text[:-1], "JSON and more": text + "x", "a comment": "//\n" + text,
    }.items():  # fmt: skip
        found[f"a header: {what}"] = good.raw(header.encode())
    found["a header: no UTF-8"] = good.raw(text.encode().replace(b'"shape"', b'"\xff\xfe"', 1))
    found["a header: UTF-16"] = good.raw(text.encode("utf-16"))
    million = {str(n): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50000)}
    found["fifty thousand empty tensors"] = good.raw({**million, **good.outer})
    return found


def headers(good):
    """What is wrong with our own header."""
    ours, found = good.header, {}
    for key in ("kind", "version", "record", "digest"):
        without = {k: v for k, v in ours.items() if k != key}
        found[f"without {key}"] = good.headed(without)
        for value in (None, True, -1, 1.5, 2**70, "", "x", [], {}, [[]], {"x": 1}):
            if (key, value) != ("version", True):
                found[f"{key} {value!r}"] = good.headed({**ours, key: value})
    found["version true"] = good.headed({**ours, "version": True})
    found["version 1.0"] = good.headed({**ours, "version": 1.0})
    text = json.dumps(ours)
    for what, other in {
        "nested deeply": text.replace('"record": {', '"record": {"x": ' + "[" * 5000
        + "]" * 5000 + ", ", 1),
        "a name twice": text.replace('"record": {', '"record": {"x": 1, "x": 1, ', 1),
        "the record twice": text[:-1] + ', "record": {}}',
        "NaN": text.replace('"record": {', '"record": {"x": NaN, ', 1),
        "infinite": text.replace('"record": {', '"record": {"x": -Infinity, ', 1),
        "1e999": text.replace('"record": {', '"record": {"x": 1e999, ', 1),
        "a number of 5000 digits": text.replace('"record": {', '"record": {"x": ' + "9" * 5000
        + ", ", 1),
        "half a character": text.replace('"record": {', '"record": {"x": "\\ud800", ', 1),
        "half a character as a name": text.replace('"record": {', '"record": {"\\udfff": 1, ', 1),
        "a list": "[]", "nothing": "null", "no JSON": text[:-1], "empty": "",
    }.items():  # fmt: skip
        found[f"our header: {what}"] = good.headed(other)
    return found


def records(good):
    """What is wrong with our own record, under a digest that fits."""
    record, found = good.record, {}
    for key in ("update", "values_update", "seed", "masters", "architecture", "clock", "sparsity",
                "moment_numbers", "sources", "versions", "mask"):  # fmt: skip
        if key in record:
            for value in ("x\n", -1 if key in ("update", "values_update") else [1], True, 1.5, {
            "a": []}):
                if type(value) is not type(record[key]) and not (
                key == "sparsity" and value == 1.5):
                    found[f"{key} is {value!r}"] = good.signed(record={**record, key: value})
    found["an endless update"] = good.signed(record={**record, "update": 2**80})
    if good.kind == "ticket":
        for key in ("clock", "mask"):
            less = {k: v for k, v in record.items() if k != key}
            found[f"a record without {key}"] = good.signed(record=less)
        found["an update counter that rewinds to nothing"] = good.signed(
            record={**record, "clock": "rewind", "update": None}
        )
    return found


def masks(good):
    """What is wrong with the mask, under a digest that fits."""
    found = {}
    bits = good.first("mask/")
    name = bits.partition("/")[2]
    layout = good.record["mask"]
    rows = layout["protected"]
    protected = next(iter(rows))
    for value in ([2**40, 2**40], [2**70], [-1, -4], [0, 4], [2.0, 2.0], ["4", "4"], "44", 4,
                  None, [], [[4, 4]], [True, 16], [4, 5], [2, 4], {"0": 4}, [2**62, 4],
                  [1] * 100):  # fmt: skip
        other = {**layout, "shapes": {**layout["shapes"], name: value}}
        found[f"a mask of shape {str(value)[:60]}"] = good.signed(record={**good.record,
        "mask": other})
    for value in (True, -1, 2**40, 2**80, 1.0, "1", None, [1], 99):
        other = {**layout, "protected": {**rows, protected: value}}
        found[f"the protected row {value!r}"] = good.signed(record={**good.record, "mask": other})
    for what, other in {
        "no shapes": {**layout, "shapes": {}},
        "a shape more": {**layout, "shapes": {**layout["shapes"], "x": [4, 4]}},
        "shapes that are a list": {**layout, "shapes": [1]},
        "rows that are a list": {**layout, "protected": [1]},
        "a row of nothing": {**layout, "protected": {"x": 1}},
        "no rows": {"shapes": layout["shapes"]},
        "a list": [], "nothing": None, "a text": "x",
    }.items():  # fmt: skip
        found[f"a mask with {what}"] = good.signed(record={**good.record, "mask": other})
    packed = good.tensors[bits]
    for what, tensor in {
        "floats": packed.float(), "signed": packed.to(torch.int8), "bools": packed.bool(),
        "a matrix": packed.reshape(1, -1), "a byte more": torch.cat([packed, packed[:1]]),
        "a byte less": packed[:-1], "nothing": packed[:0], "a number": packed[0].clone(),
        "64 bits": packed.long(), 
    }.items():  # fmt: skip
        found[f"bits: {what}"] = good.signed({**good.tensors, bits: tensor})
    if good.kind == "ticket":  # inspect shows a snapshot whose mask and zeros disagree, and says so
        # one weight more or less is kept; as many in other places would be another ticket
        flipped = torch.cat([packed[:1] ^ 1, packed[1:]])
        found["bits: others"] = good.signed({**good.tensors, bits: flipped})
    without = {n: t for n, t in good.tensors.items() if n != bits}
    found["bits: missing"] = good.signed(without)
    found["bits: of an unknown matrix"] = good.signed({**good.tensors, "mask/x": packed})
    found["bits: without a name"] = good.signed({**good.tensors, "mask/": packed})
    everything = {n: t for n, t in good.tensors.items() if not n.startswith("mask/")}
    found["bits: none at all"] = good.signed(everything)
    return found


def values(good):
    """What is wrong with weights, moments and dictionaries, under a digest that fits."""
    found = {}
    part = "values" if good.kind == "ticket" else "weights"
    matrix, vector = f"{part}/encoder.layers.0.fc1.weight", f"{part}/encoder.layers.0.fc1.bias"
    for name in (matrix, vector):
        weight = good.tensors[name]
        short = name.rpartition(".")[2]
        for what, tensor in {
            "64-bit numbers": weight.long(), "bytes": weight.to(torch.uint8), "bools": weight.bool(
            ),
            "complex": weight.to(torch.complex64), "8-bit floats": weight.to(torch.float8_e4m3fn),
            "unsigned": weight.abs().to(torch.uint16), "NaN": weight * NAN,
            "infinite": weight / 0, "-infinite": -weight.abs() / 0,
            "65 dimensions": weight.reshape([1] * 64 + [-1]),
        }.items():  # fmt: skip
            found[f"{short}: {what}"] = good.signed({**good.tensors, name: tensor})
        one = weight.clone()
        one.reshape(-1)[-1] = NAN
        found[f"{short}: one NaN"] = good.signed({**good.tensors, name: one})
    weight = good.tensors[matrix]
    for what, tensor in {
        "one more": torch.cat([weight.reshape(-1), torch.ones(1)]),
        "one less": weight.reshape(-1)[:-1], "none": weight.reshape(-1)[:0],
        "another shape": weight.reshape(1, 1, -1), "a number": torch.tensor(1.0),
    }.items():  # fmt: skip
        found[f"weight: {what}"] = good.signed({**good.tensors, matrix: tensor})
    without = {n: t for n, t in good.tensors.items() if n != matrix}
    found["a matrix less"] = good.signed(without)
    for name in (f"{part}/", "x/y", "x", "", "/", f"{part}", "dictionary/third", "dictionary/",
                 "../x", "/etc/passwd", "__class__", f"{part}x/y", "a\nb", "\x1b[2J"):  # fmt: skip
        found[f"a tensor named {name!r}"] = good.signed({**good.tensors, name: torch.ones(2)})
    source = good.tensors["dictionary/source"]
    for what, tensor in {
        "no UTF-8": torch.full_like(source, 0xFF), "floats": source.float(),
        "a matrix": source.reshape(1, -1), "a number": source[0].clone(), "signed": source.char(),
    }.items():  # fmt: skip
        found[f"a dictionary: {what}"] = good.signed({**good.tensors, "dictionary/source": tensor})
    if good.kind == "ticket":
        for name in sorted(name for name in good.tensors if name.startswith("moments/"))[:1]:
            moment = good.tensors[name]
            found["a moment that is NaN"] = good.signed({**good.tensors, name: moment * NAN})
            found["a moment of another size"] = good.signed({**good.tensors, name: moment[:-1]})
        less = {n: t for n, t in good.tensors.items() if n != "dictionary/source"}
        found["no dictionary"] = good.signed(less)
    return found


def all_of(path):
    """Every bad file that one good ticket or snapshot makes."""
    good = Good(path)
    found = structural(good) | entries(good) | headers(good) | records(good)
    return found | masks(good) | values(good)
