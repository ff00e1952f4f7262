"""Bad compact files: their streams, and what their layout says of these."""

import copy
import json
import zlib

import torch
import zstandard
from hostile import bombs, containers, models
from hostile.containers import KEY, packed, stream, unpacked
from hostile.damage import cuts, flips, garbage, places, written
from safetensors.torch import save
from small import Run, full_mask, model, save_snapshot_of, weights

from fairseq_lottery.formats import container, save_ticket
from fairseq_lottery.formats.compact_model import KIND, from_state

#: what a count or a size is not
STRANGE = (None, True, "1", "", [], [1], {}, 1.5, -1, 2**31, 2**40, 2**62, 2**63 - 1)


def good_files(folder, seed=0):
    """A ticket with moments, one of signs, a snapshot and a model, all compact."""
    run = Run(folder, layers=1)
    found = {
        "ticket": run.draw(moments="keep", reset="keep", seed=seed, sparsity=0.8 - seed / 10),
        "signs": run.draw(reset="sign", scope="global", sparsity=0.8 - seed / 10),
    }
    for name, ticket in found.items():
        save_ticket(folder / f"{name}.safetensors", ticket)
    values = weights(seed, layers=1)
    save_snapshot_of(folder / "snapshot.safetensors", values, mask=full_mask(layers=1))
    values = weights(5 + seed, layers=1)
    mask = found["signs"].mask
    state = {
        "cfg": {"model": {"arch": "transformer", "encoder_layers": 1}, "common": {"fp16": False}},
        "model": model({n: w * mask[n] if n in mask else w for n, w in values.items()}),
        "optimizer_history": [{"num_updates": 20}],
        **dict.fromkeys(("args", "task_state", "extra_state", "last_optimizer_state")),
    }
    container.save(folder / "model.safetensors", KIND, *from_state(state, mask))
    paths = {name: folder / f"{name}.safetensors" for name in (*found, "snapshot", "model")}
    for path in paths.values():
        kind = container.kind_of(path)
        container.save(path, kind, *container.load(path, kind), compact=True)
    return paths


class Good(containers.Good):
    """A whole compact file, its streams and its layout."""

    def __init__(self, path):
        super().__init__(path)
        self.layout = unpacked(self.stored["layout"])

    def with_streams(self, **changes):
        """The file with other streams, None for none; what is signed is the good content."""
        streams = {**self.stored, **{k.replace("__", "."): v for k, v in changes.items()}}
        streams = {name: one.clone() for name, one in streams.items() if one is not None}
        return written(save(streams, {KEY: json.dumps(self.header)}), self.name)

    def with_layout(self, layout, **streams):
        """The file with another layout: a value, or bytes that are to be compressed."""
        return self.with_streams(layout=packed(layout), **streams)

    def changed(self, *path, to):
        """A copy of the layout with another value at ``path``; ``...`` takes it out."""
        layout = copy.deepcopy(self.layout)
        inner = layout
        for key in path[:-1]:
            inner = inner[key]
        if to is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = to
        return layout


def streams(good, other):
    """Every stream cut, lengthened, flipped, exchanged, of another type or of another model."""
    found = {}
    for name, whole in good.stored.items():
        data, key = whole.numpy().tobytes(), name.replace(".", "__")
        for what, make in cuts(data, [0, len(data) // 2, len(data)], "x").items():
            found[f"{name}: {what}"] = good.with_streams(**{key: stream(_content(make))})
        for what, make in flips(data, {"stream": (0, len(data))}, "x", each=12).items():
            found[f"{name}: {what}"] = good.with_streams(**{key: stream(_content(make))})
        for what, content in {
            "a byte more": data + b"\0", "twice": data + data, "text behind it": data + b"PK\3\4",
            "another frame behind it": data + zstandard.ZstdCompressor().compress(b"x"),
            "its first byte again": data[:1] + data, "backwards": data[::-1],
            "zeros": bytes(len(data)), "ones": b"\xff" * len(data),
        }.items():  # fmt: skip
            found[f"{name}: {what}"] = good.with_streams(**{key: stream(content)})
        for what, tensor in {
            "a matrix": whole.reshape(1, -1), "a number": whole[0].clone(), "missing": None,
            "signed": whole.to(torch.int8), "bools": whole.bool(), "floats": whole.float(),
            "brain floats": whole.to(torch.bfloat16), "64 bits": whole.long(),
        }.items():  # fmt: skip
            found[f"{name}: {what}"] = good.with_streams(**{key: tensor})
        if name in other.stored and not torch.equal(other.stored[name], whole):
            found[f"{name}: another model's"] = good.with_streams(**{key: other.stored[name]})
    for name in ("x", "", "mask", "mask.runs", "float32.4", "float64.0", "layout2", "mask/x"):
        found[f"a stream {name!r} more"] = good.with_streams(**{name: stream(b"x" * 9)})
    found["no streams"] = good.with_streams(**dict.fromkeys(good.stored))
    return found


def _content(make):
    """The bytes of an input that is one file."""
    return make.__closure__[0].cell_contents


def layouts(good):
    """What is wrong with the layout: its parts, their rows, and each entry of these."""
    found = {}
    for key in good.layout:
        found[f"a layout without {key}"] = good.with_layout(good.changed(key, to=...))
        for value in (None, True, 1, "x", [[]], {"x": 1}, {"x": []}, [1]):
            changed = good.changed(key, to=value)
            found[f"the layout's {key} is {value!r}"] = good.with_layout(changed)
    for coder, rows in good.layout["masks"].items():
        found |= _rows(good, ("masks", coder), rows, f"mask.{coder}")
        name, ones, size = rows[0]
        for by in (-size, -1, 1, 255, 10**6):
            changed = good.changed("masks", coder, 0, to=[name, ones, size + by])
            found[f"{coder} of {size + by} bytes"] = good.with_layout(changed)
        shape = good.record["mask"]["shapes"][name]
        for count in {0, 1, ones - 1, ones + 1, shape[0] * shape[1] - ones, 10**9} - {ones}:
            changed = good.changed("masks", coder, 0, to=[name, count, size])
            found[f"{coder} of {count} survivors"] = good.with_layout(changed)
        moved = good.changed("masks", to={"gaps": rows, "bits": []})
        if coder == "bits":
            found["bits as gaps"] = good.with_layout(moved, mask__gaps=good.stored["mask.bits"])
    if good.layout["signs"]:
        found |= _rows(good, ("signs",), good.layout["signs"], "signs")
        for magnitude in (-1, 2**31, 2**32, 2**32 + 1, 0x7F800000, 0x7FC00000, 0):
            changed = good.changed("signs", 0, 2, to=magnitude)
            found[f"signs of the magnitude {magnitude}"] = good.with_layout(changed)
    for type_, rows in good.layout["planes"].items():
        found |= _rows(good, ("planes", type_), rows, type_)
        for other in ("float16", "float64", "uint8", "int64", "float8", "", "../float32", "O"):
            if other not in good.layout["planes"]:
                planes = {other if t == type_ else t: r for t, r in good.layout["planes"].items()}
                found[f"{type_} as {other!r}"] = good.with_layout({**good.layout, "planes": planes})
    return found | texts(good)


def _rows(good, path, rows, what):
    """Rows that are missing, twice or in another order, and entries that are none."""
    found = {}
    for name, other in {
        "none": [], "the first missing": rows[1:], "the first twice": rows[:1] + rows,
        "a row more": [*rows, ["x", *rows[0][1:]]], "no rows": "rows", "numbers": [1, 2],
        "a number": 1, "texts": ["abc"], "rows of nothing": [[]], "short rows": [rows[0][:1]],
        "long rows": [[*row, 1] for row in rows], "nothing": None,
        **({"backwards": rows[::-1]} if rows[::-1] != rows else {}),
    }.items():  # fmt: skip
        found[f"{what}: {name}"] = good.with_layout(good.changed(*path, to=other))
    for column, was in enumerate(rows[0]):
        for value in (*STRANGE, *(_SHAPES if isinstance(was, list) else ())):
            if value == was and type(value) is type(was):
                continue
            changed = good.changed(*path, 0, column, to=value)
            found[f"{what}: column {column} is {str(value)[:40]!r}"] = good.with_layout(changed)
    for name in ("values/", "x/y", "mask/x", "../x", "\x1b[2J", "\n", rows[-1][0], 7, "\ud800"):
        changed = good.changed(*path, 0, 0, to=name)
        if name != rows[0][0]:
            found[f"{what}: the name {name!r}"] = good.with_layout(changed)
    return found


_SHAPES = ([2**40, 2**20], [2**63], [2**64], [-1], [-4, -4], [0], [1.5], ["4"], [[4]], [True],
           [2**31] * 9, [1] * 65, [1] * 10**5, [2**62] * 10**5, [0, 2**63], [None])  # fmt: skip


def texts(good):
    """Layouts that are no JSON, or of which two readers could disagree."""
    text = json.dumps(good.layout)
    found = {}
    for what, other in {
        "a list": "[]", "a number": "1", "nothing": "null", "a text": '"x"', "empty": "",
        "no JSON": text[:-1], "JSON and more": text + "x", "a comment": "//\n" + text,
        "a part twice": text[:-1] + ', "record": {}}',
        "a name twice": text.replace('"record": {', '"record": {"x": 1, "x": 1, ', 1),
        "NaN": text.replace('"record": {', '"record": {"x": NaN, ', 1),
        "infinite": text.replace('"record": {', '"record": {"x": -Infinity, ', 1),
        "1e999": text.replace('"record": {', '"record": {"x": 1e999, ', 1),
        "a number of 5000 digits": text.replace('"record": {', '"record": {"x": ' + "9" * 5000
        + ", ", 1),
        "half a character": text.replace('"record": {', '"record": {"x": "\\ud800", ', 1),
        "nested deeply": text.replace('"record": {', '"record": {"x": ' + "[" * 5000 + "]" * 5000
        + ", ", 1),
        "brackets": "[" * 10**6, "braces": '{"a":' * 10**5,
    }.items():  # fmt: skip
        found[f"a layout: {what}"] = good.with_layout(other)
    found["a layout: UTF-16"] = good.with_layout(text.encode("utf-16"))
    found["a layout: no UTF-8"] = good.with_layout(text.encode().replace(b'"masks"', b'"\xff"', 1))
    for what, content in {
        "that is not compressed": text.encode(), "in gzip": zlib.compress(text.encode(), 9, 31),
        "in deflate": zlib.compress(text.encode(), 9, -15),
        "with another checksum": _other_checksum(text.encode()),
        "cut short": zstandard.ZstdCompressor().compress(text.encode())[:-9],
    }.items():  # fmt: skip
        found[f"a layout {what}"] = good.with_streams(layout=stream(content))
    return found


def _other_checksum(text):
    frame = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(text))
    frame[-1] ^= 1
    return bytes(frame)


def all_of(path, other):
    """Every bad file that one good compact file makes; ``other`` is of another model."""
    good = Good(path)
    name = good.name
    start = 8 + good.length
    ends = [entry["data_offsets"] for key, entry in good.outer.items() if key != "__metadata__"]
    regions = {"length": (0, 8), "header": (8, start), "streams": (start, len(good.bytes))}
    boundaries = [0, 8, 9, start, len(good.bytes), *{start + at for pair in ends for at in pair}]
    found = cuts(good.bytes, boundaries, name) | flips(good.bytes, regions, name, each=40)
    found |= garbage(good.bytes, name) | places(name)
    found["a byte more"] = written(good.bytes + b"\0", name)
    found |= headers(good) | streams(good, Good(other)) | layouts(good)
    found |= bombs.all_of(good)
    if good.kind == "model":
        found |= models.all_of(good)
    else:
        found |= containers.records(good) | containers.masks(good) | containers.values(good)
    return {what: make for what, make in found.items() if make is not None}


def headers(good):
    """What is wrong with our own header, a later version among it."""
    found = {}
    for key in ("kind", "version", "digest"):
        less = {k: v for k, v in good.header.items() if k != key}
        found[f"without {key}"] = good.headed(less)
        for value in (None, True, -1, 0, 1, 1.5, 3, 2**31, "", "2", "x", [], {}, "ticket",
                      "snapshot", "model", "golden"):  # fmt: skip
            if value != good.header[key]:
                found[f"{key} {value!r}"] = good.headed({**good.header, key: value})
    found["version 2.0"] = good.headed({**good.header, "version": 2.0})
    found["a plain file's record as well"] = good.headed({**good.header, "version": 1,
    "record": good.record})
    return found
