"""Code named tensors and a record as a few streams, and decode them bit for bit.

A stream is a one-dimensional tensor of bytes:

* ``layout``: JSON in a zstandard frame: the record, and the content of all streams in order;
* ``mask.bits``, ``mask.gaps``: packed masks (``compact.bit_coding``);
* ``signs``: one bit for each value of tensors with a single magnitude;
* ``float32.0`` to ``float32.3``, and likewise for other types: all other tensors
  (``compact.byte_planes``).
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

#: types of tensors -> types of torch, and of numpy for their bits
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
#: maximum bytes of values, and weights of masks, per byte of a file, and the allowance for small
#: files. Usual files have a few, and 1,400 weights if one in 4,000 survives
_MOST_VALUES, _MOST_WEIGHTS, _ALLOWANCE = 64, 2048, 1 << 26
#: maximum bytes of JSON; a very large Transformer has less than a twentieth
_MOST_LAYOUT = 1 << 23


def pack(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> dict[str, Tensor]:
    """Code tensors and record.

    Args:
        tensors: ``mask/NAME`` are packed masks with shapes in ``record["mask"]``; others are coded
            by their type.

    Raises:
        LotteryError: a tensor has another type, or the file would be refused on reading because
            it is too uniform, or its names and settings are too large.
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
    for coder, items in masks.items():
        # a Huffman code serves 32,768 symbols, so matrices of similar density should share it
        items.sort(key=lambda item: item[:2])
        arrays = [array for _, _, array in items]
        streams[f"mask.{coder}"], sizes = bit_coding.encode(arrays, coder)
        rows = zip(items, sizes)
        layout["masks"][coder] = [[n, int(np.count_nonzero(a)), s] for (_, n, a), s in rows]
    if signs:
        streams["signs"] = np.packbits(np.concatenate(signs)).tobytes()
    for type_, tensors_of_type in rest.items():
        layout["planes"][type_] = [[name, shape] for name, _, shape in tensors_of_type]
        for plane, frame in enumerate(
            byte_planes.encode([array for _, array, _ in tensors_of_type])
        ):
            streams[f"{type_}.{plane}"] = frame
    text = json.dumps(layout, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        streams["layout"] = zstandard.ZstdCompressor(level=19).compress(text.encode())
        _layout(streams["layout"])
    except ValueError as error:
        raise LotteryError(f"names and settings do not fit a compact file ({error})") from None
    try:
        _refuse_large(layout, shapes, sum(len(s) for n, s in streams.items() if n != "layout"))
    except LotteryError as error:
        raise LotteryError(f"the content is too uniform for a compact file ({error})") from None
    return {
        name: torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
        for name, stream in streams.items()
    }


def unpack(coded: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record.

    Raises:
        LotteryError: streams are missing, malformed, inconsistent, or expand too much.
    """
    for name, tensor in coded.items():
        if tensor.dtype != torch.uint8 or tensor.dim() != 1:
            raise LotteryError(f"its stream {name!r} is not a row of bytes")
    streams = {name: tensor.numpy().tobytes() for name, tensor in coded.items()}
    try:
        layout = _layout(streams.pop("layout"))
        record = layout["record"]
        shapes = (record.get("mask") or {}).get("shapes") or {}
        _refuse_large(layout, shapes, sum(map(len, streams.values())))
        tensors: dict[str, Tensor] = {}
        for name, tensor in _decoded(layout, shapes, streams):
            if name in tensors:
                raise LotteryError(f"{name} is repeated")
            tensors[name] = tensor
    except LotteryError:  # a ValueError
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LotteryError(f"its layout is malformed ({error})") from error
    if streams:
        raise LotteryError(f"unknown stream {sorted(streams)[0]!r}")
    return tensors, record


def _decoded(
    layout: Mapping[str, Any], shapes: Mapping[str, Any], streams: dict[str, bytes]
) -> Iterator[tuple[str, Tensor]]:
    for coder, rows in layout["masks"].items():
        names, ones, sizes = ([row[i] for row in rows] for i in range(3))
        lengths = [_size(shapes[name]) for name in names]
        arrays = bit_coding.decode(streams.pop(f"mask.{coder}"), coder, lengths, ones, sizes)
        for array, name in zip(arrays, names):  # ``arrays`` first: its end has to be reached
            yield f"mask/{name}", torch.from_numpy(bit_coding.packed(array))
    if layout["signs"]:
        stream = np.frombuffer(streams.pop("signs"), np.uint8)
        total = sum(_size(shape) for _, shape, _ in layout["signs"])
        if stream.size != -(-total // 8):
            raise LotteryError("its signs are truncated, or longer than declared")
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
        # torch has few unsigned types
        signed = dtype if dtype.itemsize == 1 else np.dtype(numbers.replace("u", "i"))
        frames = [streams.pop(f"{type_}.{plane}") for plane in range(dtype.itemsize)]
        planes = byte_planes.decode(frames, dtype, [_size(shape) for _, shape in rows])
        for array, (name, shape) in zip(planes, rows):
            yield name, torch.from_numpy(array.view(signed).copy()).view(torch_type).reshape(shape)


def _layout(frame: bytes) -> dict[str, Any]:
    """Read the layout with a limit on its size."""
    reader = Frame(frame)
    try:
        text = reader.read(_MOST_LAYOUT + 1)
        if len(text) > _MOST_LAYOUT:
            raise LotteryError(f"its layout exceeds {_MOST_LAYOUT} bytes")
        if not reader.is_over():
            raise LotteryError("its layout is truncated, or followed by other bytes")
    except zstandard.ZstdError as error:
        raise LotteryError(f"its layout is malformed ({error})") from error
    layout: dict[str, Any] = read_json(text.decode())
    _LAYOUT(layout, "layout", len(text))
    if len(layout) > len(_PARTS):
        raise LotteryError(f"its layout has unknown entries besides {', '.join(_PARTS)}")
    return layout


def _refuse_large(layout: Mapping[str, Any], shapes: Mapping[str, Any], coded: int) -> None:
    """Refuse sizes that are too large for ``coded`` bytes, before memory is allocated."""
    total = sum(4 * _size(shape) for _, shape, _ in layout["signs"])
    for type_, rows in layout["planes"].items():
        width = np.dtype(_TYPES[type_][1]).itemsize
        total += sum(width * _size(shape) for _, shape in rows)
    if total > _MOST_VALUES * coded + _ALLOWANCE:
        raise LotteryError(f"it declares {total} bytes of values in a file of {coded} bytes")
    weights = sum(_size(shape) for shape in shapes.values())
    if weights > _MOST_WEIGHTS * coded + _ALLOWANCE:
        raise LotteryError(f"it declares masks of {weights} weights in a file of {coded} bytes")


def _size(shape: Any) -> int:
    """Return the number of entries of a shape."""
    fits = isinstance(shape, list) and len(shape) <= MOST_DIMENSIONS
    if not fits or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise LotteryError(f"{str(shape)[:80]} is not a shape")
    return math.prod(shape)


def _numbers(name: str, tensor: Tensor) -> tuple[str, np.ndarray]:
    """Return the name of a tensor's type, and its bits as unsigned integers."""
    for type_, (torch_type, numbers) in _TYPES.items():
        if tensor.dtype == torch_type:
            if not tensor.numel():  # torch cannot view an empty tensor as bytes
                return type_, np.empty(0, numbers)
            return type_, tensor.reshape(-1).view(torch.uint8).numpy().view(numbers)
    raise LotteryError(f"{name} has type {tensor.dtype}, which compact files cannot store")
