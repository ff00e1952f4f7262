"""Named tensors and a record as a few coded streams, and back, bit for bit.

A stream is a one-dimensional tensor of bytes:

* ``layout``: JSON in a zstandard frame: the record, and which streams hold what, in order;
* ``mask.bits``, ``mask.gaps``: packed masks (``compact.bits``);
* ``signs``: of tensors that hold one magnitude only, a bit for each value;
* ``float32.0`` to ``float32.3``, and alike for other types: all else (``compact.planes``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import zstandard
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import MOST_DIMENSIONS, read_json
from fairseq_lottery.formats.compact import bit_coding, byte_planes
from fairseq_lottery.formats.compact.coded_streams import Frame
from fairseq_lottery.formats.entry_checks import entries, every, list_of, one_of, refuse, row

#: types that tensors may have, as numpy reads their bits: it has no bfloat16
_TYPES: dict[str, tuple[torch.dtype, str]] = {
    "float32": (torch.float32, "<u4"),
    "float16": (torch.float16, "<u2"),
    "bfloat16": (torch.bfloat16, "<u2"),
    "uint8": (torch.uint8, "|u1"),
    "int64": (torch.int64, "<u8"),
}
_SIGN = np.uint32(1 << 31)


def _signs(value: Any, name: str, size: int) -> None:
    row(str, list, int)(value, name, size)
    if not 0 <= value[2] < _SIGN:
        refuse(value[2], f"{name}'s magnitude")


_PARTS = {
    "record": one_of(dict),
    "masks": every(list_of(row(str, int, int))),  # name, survivors, bytes
    "signs": list_of(_signs),  # name, shape, magnitude
    "planes": every(list_of(row(str, list))),  # name, shape
}
_LAYOUT = entries(_PARTS, tuple(_PARTS))
#: bytes of values, and weights under masks, that a file may stand for: so many times its bytes,
#: and so many besides. Ours stand for a few, and for 1,400 where one weight in 4,000 survives
_MOST_VALUES, _MOST_WEIGHTS, _BESIDES = 64, 2048, 1 << 26
#: bytes of JSON; one of the largest Transformers has less than a twentieth
_MOST_LAYOUT = 1 << 23


def pack(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> dict[str, Tensor]:
    """Code tensors and record.

    Args:
        tensors: ``mask/NAME`` are packed masks whose shapes ``record["mask"]`` has; all others
            are coded by their type.

    Raises:
        LotteryError: a tensor of a type that no file of ours holds, or content so empty, or
            names and settings so large, that a file of it would be refused when it is read.
    """
    layout: dict[str, Any] = {"record": record, "masks": {}, "signs": [], "planes": {}}
    streams: dict[str, bytes] = {}
    shapes = (record.get("mask") or {}).get("shapes") or {}
    masks: dict[str, list[tuple[float, str, np.ndarray]]] = {}
    rest: dict[str, list[tuple[str, np.ndarray, list[int]]]] = {}
    signs: list[np.ndarray] = []
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        part, _, short = name.partition("/")
        if part == "mask":
            array = bit_coding.unpacked(tensor.numpy(), _size(shapes[short]))
            ones = int(np.count_nonzero(array))
            coder = bit_coding.coder_of(ones, array.size)
            masks.setdefault(coder, []).append((ones / max(array.size, 1), short, array))
            continue
        type_, array = _numbers(name, tensor)
        if type_ == "float32" and array.size > 1 and np.ptp(array & ~_SIGN) == 0:
            magnitude = int(array[0] & ~_SIGN)
            layout["signs"].append([name, list(tensor.shape), magnitude])
            signs.append((array & _SIGN) != 0)
        else:
            rest.setdefault(type_, []).append((name, array, list(tensor.shape)))
    for coder, found in masks.items():
        # a Huffman code serves 32,768 symbols: matrices of like density share one best
        found.sort(key=lambda one: one[:2])
        arrays = [array for _, _, array in found]
        streams[f"mask.{coder}"], sizes = bit_coding.encode(arrays, coder)
        rows = zip(found, sizes)
        layout["masks"][coder] = [[n, int(np.count_nonzero(a)), s] for (_, n, a), s in rows]
    if signs:
        streams["signs"] = np.packbits(np.concatenate(signs)).tobytes()
    for type_, items in rest.items():
        layout["planes"][type_] = [[name, shape] for name, _, shape in items]
        for plane, frame in enumerate(byte_planes.encode([array for _, array, _ in items])):
            streams[f"{type_}.{plane}"] = frame
    text = json.dumps(layout, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        streams["layout"] = zstandard.ZstdCompressor(level=19).compress(text.encode())
        _layout(streams["layout"])
    except ValueError as error:
        raise LotteryError(f"no compact file holds names and settings like its ({error})") from None
    try:
        _refuse_absurd(layout, shapes, sum(len(s) for n, s in streams.items() if n != "layout"))
    except LotteryError as error:
        raise LotteryError(f"too much of it is alike for a compact file ({error})") from None
    return {
        name: torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
        for name, stream in streams.items()
    }


def unpack(coded: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the record again.

    Raises:
        LotteryError: streams are missing, malformed, inconsistent, or hold more than they may.
    """
    for name, tensor in coded.items():
        if tensor.dtype != torch.uint8 or tensor.dim() != 1:
            raise LotteryError(f"its stream {name!r} is no row of bytes")
    streams = {name: tensor.numpy().tobytes() for name, tensor in coded.items()}
    try:
        layout = _layout(streams.pop("layout"))
        record = layout["record"]
        shapes = (record.get("mask") or {}).get("shapes") or {}
        _refuse_absurd(layout, shapes, sum(map(len, streams.values())))
        tensors: dict[str, Tensor] = {}
        for name, tensor in _decoded(layout, shapes, streams):
            if name in tensors:
                raise LotteryError(f"it holds {name} twice")
            tensors[name] = tensor
    except LotteryError:  # which is a ValueError
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LotteryError(f"its layout is malformed ({error})") from error
    if streams:
        raise LotteryError(f"it has an unknown stream {sorted(streams)[0]!r}")
    return tensors, record


def _decoded(
    layout: Mapping[str, Any], shapes: Mapping[str, Any], streams: dict[str, bytes]
) -> Iterator[tuple[str, Tensor]]:
    for coder, rows in layout["masks"].items():
        names, ones, sizes = ([row[i] for row in rows] for i in range(3))
        lengths = [_size(shapes[name]) for name in names]
        found = bit_coding.decode(streams.pop(f"mask.{coder}"), coder, lengths, ones, sizes)
        for array, name in zip(found, names):  # in this order ``found`` is asked for its end
            yield f"mask/{name}", torch.from_numpy(bit_coding.packed(array))
    if layout["signs"]:
        stream = np.frombuffer(streams.pop("signs"), np.uint8)
        total = sum(_size(shape) for _, shape, _ in layout["signs"])
        if stream.size != -(-total // 8):
            raise LotteryError("its signs are cut short, or longer than it says")
        negative = np.unpackbits(stream, count=total).astype(bool)
        start = 0
        for name, shape, magnitude in layout["signs"]:
            size = _size(shape)
            values = np.where(negative[start : start + size], _SIGN, np.uint32(0))
            values |= np.uint32(magnitude)
            yield name, torch.from_numpy(values.view(np.int32)).view(torch.float32).reshape(shape)
            start += size
    for type_, rows in layout["planes"].items():
        torch_type, numbers = _TYPES[type_]
        dtype = np.dtype(numbers)
        # torch knows hardly any unsigned numbers
        signed = dtype if dtype.itemsize == 1 else np.dtype(numbers.replace("u", "i"))
        frames = [streams.pop(f"{type_}.{plane}") for plane in range(dtype.itemsize)]
        arrays = byte_planes.decode(frames, dtype, [_size(shape) for _, shape in rows])
        for array, (name, shape) in zip(arrays, rows):  # as above
            yield name, torch.from_numpy(array.view(signed).copy()).view(torch_type).reshape(shape)


def _layout(frame: bytes) -> dict[str, Any]:
    """Read the layout; a frame that would expand without end is refused."""
    reader = Frame(frame)
    try:
        text = reader.read(_MOST_LAYOUT + 1)
        if len(text) > _MOST_LAYOUT:
            raise LotteryError("its layout is absurdly large")
        if not reader.is_over():
            raise LotteryError("its layout is cut short, or something stands behind it")
    except zstandard.ZstdError as error:
        raise LotteryError(f"its layout is malformed ({error})") from error
    layout: dict[str, Any] = read_json(text.decode())
    _LAYOUT(layout, "layout", len(text))
    if len(layout) > len(_PARTS):
        raise LotteryError("its layout has other parts than a layout has")
    return layout


def _refuse_absurd(layout: Mapping[str, Any], shapes: Mapping[str, Any], coded: int) -> None:
    """Refuse sizes that a file of these many bytes does not have, before memory is taken."""
    total = sum(4 * _size(shape) for _, shape, _ in layout["signs"])
    for type_, rows in layout["planes"].items():
        width = np.dtype(_TYPES[type_][1]).itemsize
        total += sum(width * _size(shape) for _, shape in rows)
    if total > _MOST_VALUES * coded + _BESIDES:
        raise LotteryError(f"it says that it holds {total} bytes, in a file of {coded}")
    weights = sum(_size(shape) for shape in shapes.values())
    if weights > _MOST_WEIGHTS * coded + _BESIDES:
        raise LotteryError(f"it says that it masks {weights} weights, in a file of {coded} bytes")


def _size(shape: Any) -> int:
    """Entries of a tensor of this shape."""
    fits = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
    if not fits or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise LotteryError(f"{str(shape)[:80]} is no shape")
    return math.prod(shape)


def _numbers(name: str, tensor: Tensor) -> tuple[str, np.ndarray]:
    """The name of a tensor's type, and its bits as one-dimensional unsigned numbers."""
    for type_, (torch_type, numbers) in _TYPES.items():
        if tensor.dtype == torch_type:
            if not tensor.numel():  # torch views no empty tensor as bytes
                return type_, np.empty(0, numbers)
            return type_, tensor.reshape(-1).view(torch.uint8).numpy().view(numbers)
    raise LotteryError(f"{name} is {tensor.dtype}, which no compact file holds")
