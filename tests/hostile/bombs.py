"""Few bytes of a compact file that stand for many: zstandard, deflate, JSON, and mere claims."""

import functools
import zlib

import torch
from hostile.containers import packed, stream

from fairseq_lottery.formats.compact import bit_coding

#: the start of a zstandard frame: its number, then a descriptor that promises nothing
FRAME = b"\x28\xb5\x2f\xfd\x00"


def repeated(times, symbol=b"\0", window=7):
    """A zstandard frame of ``times`` blocks of 128 KiB, four bytes each; made by hand."""
    block = ((1 << 17) << 3 | 1 << 1).to_bytes(3, "little") + symbol
    return FRAME + bytes([window << 3]) + block * times + b"\x01\0\0"


@functools.cache
def deflated(megabytes):
    """Raw deflate of so many megabytes of zeros: 64 once, over and over."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = coder.compress(bytes(64 << 20)) + coder.flush(zlib.Z_FULL_FLUSH)
    return piece * (megabytes // 64) + coder.flush()


def all_of(good):
    """Every stream of a good file as one that does not end, and sizes that are only said."""
    found = {}
    many = repeated(1 << 15)  # 128 KiB that stand for 4 GiB
    single = b"\x28\xb5\x2f\xfd\xe0"  # one piece, its size in the eight bytes behind
    frames = {
        "4 GiB": many, "frames without content": FRAME + b"\x38\x01\0\0",
        "a window of 64 MiB": repeated(1, window=16), "a window of 2 GiB": repeated(1, window=21),
        "a window of 3 TiB": repeated(1, window=31),
        "8 EB at once": single + (2**63 - 1).to_bytes(8, "little") + many[6:106],
        "100 GB at once": single + (10**11).to_bytes(8, "little") + many[6:106],
        "a dictionary": b"\x28\xb5\x2f\xfd\x03\x38" + b"\x01\0\0\0" + many[6:106],
    }  # fmt: skip
    for name in good.stored:
        if "." in name and not name.startswith("mask.") or name == "layout":
            for what, frame in frames.items():
                key = name.replace(".", "__")
                found[f"{name}: {what}"] = good.with_streams(**{key: stream(frame)})
    endless = stream(deflated(4096))  # 4 MB
    for coder in good.layout["masks"]:
        found[f"mask.{coder}: 4 GiB"] = good.with_streams(**{f"mask__{coder}": endless})
        name, _, size = good.layout["masks"][coder][0]
        larger = good.changed("masks", coder, 0, 2, to=1032 * endless.numel() - 10**6)
        found[f"mask.{coder}: 4 GiB, as it says"] = good.with_layout(
            larger, **{f"mask__{coder}": endless}
        )
        for shape in ([2**15, 2**14], [2**16, 2**15], [2**13, 2**13]):
            total = shape[0] * shape[1]
            zeros = bit_coding.encode([torch.zeros(1, dtype=torch.bool).numpy()], "bits")[0]
            rows = [[name, 0, total // 8]]
            layout = good.changed("masks", to={"bits": rows})
            layout["record"]["mask"]["shapes"] = {name: shape}
            found[f"{name} of {total} pruned weights by {coder}"] = good.with_layout(
                layout, mask__bits=stream(deflated(max(total >> 23, 64))), mask__gaps=None
            )
            found[f"{name} of {total} pruned weights in {len(zeros)} bytes by {coder}"] = (
                good.with_layout(layout, mask__bits=stream(zeros), mask__gaps=None)
            )
    for what, layout in _large_layouts().items():
        found[f"a layout of megabytes of {what}"] = good.with_streams(layout=layout)
    rows = [["values/encoder.layers.0.fc1.bias", [0]]] * 10**5
    found["a hundred thousand tensors of one name"] = good.with_layout(
        good.changed("planes", "float32", to=rows)
    )
    return found


@functools.cache
def _large_layouts():
    """Return what a layout has megabytes of -> its stream, which does not depend on a good file."""
    texts = {
        "spaces": b" " * (100 << 20), "brackets": b"[" * (60 << 20), "lists": _lists(60 << 20),
        "small lists": _lists(7 << 20), "a text": b'"' + b"x" * (60 << 20) + b'"',
        "a number": b"9" * (60 << 20), "half characters": b'"' + b"\\ud800" * 10**6 + b'"',
        "names": b'{"' + b'":{},"'.join(b"%d" % n for n in range(10**6)) + b'":{}}',
    }  # fmt: skip
    return {what: packed(text) for what, text in texts.items()}


def _lists(size):
    return b"[" + b"[]," * (size // 3) + b"1]"
