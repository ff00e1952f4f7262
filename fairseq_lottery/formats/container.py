"""Containers: a safetensors file with named tensors, a JSON record and a digest of both.

A plain container stores each tensor, a compact one codes all of them (``compact.coded_layout``).
Both have the same content and the same digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fairseq_lottery.environment import require
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, replacing
from fairseq_lottery.files.untrusted_json import MOST_DIMENSIONS, read_json
from fairseq_lottery.formats.entry_checks import count, entries, one_of

_KEY = "fairseq_lottery"
#: versions of the format; 2 was never released
_PLAIN, _COMPACT = 1, 3
#: kind of a file -> what messages call it
_NOUNS = {
    "ticket": "a ticket",
    "snapshot": "a snapshot",
    "model": "a compact model",
    "mask": "a mask",
    "pair-masks": "a file of masks of pairs of languages",
    "gradients": "a file of summed gradients",
}
_TEXTS = {"kind": one_of(str), "digest": one_of(str)}
#: entries of the header; the record of a compact file is in its tensors
_HEADERS = {
    _PLAIN: entries({**_TEXTS, "record": one_of(dict)}, ("kind", "digest", "record")),
    _COMPACT: entries(_TEXTS, ("kind", "digest")),
}
#: maximum bytes of a header; that of a Transformer big with optimizer state has 104 thousand
_LONGEST = 1 << 23
#: types of weights, moments, bits and counters; other types are refused
_TYPES = {"BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64"}


def digest(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the record and of the names, types, shapes and bytes of tensors."""
    sha = hashlib.sha256(_json(record).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"|{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        if tensor.numel():
            sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def save(
    path: Union[str, Path],
    kind: str,
    tensors: Mapping[str, Tensor],
    record: Mapping[str, Any],
    overwrite: bool = True,
    compact: bool = False,
) -> None:
    """Write the file atomically; the same content gives the same bytes."""
    header: dict[str, Any] = {"kind": kind, "digest": digest(tensors, record)}
    if compact:
        require("zstandard")
        from fairseq_lottery.formats.compact.coded_layout import pack

        header["version"] = _COMPACT
        tensors = pack(tensors, record)
    else:
        header.update(version=_PLAIN, record=record)
    with replacing(path, overwrite) as temporary:
        contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        try:
            # one key only: with several keys safetensors does not fix their order
            save_file(contiguous, str(temporary), metadata={_KEY: _json(header)})
            # a header that cannot be read must fail now, not when the file is needed
            read_json(read_header(temporary)["__metadata__"][_KEY])
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise LotteryError(f"{path} cannot be written: {error}") from error


def is_container(path: Union[str, Path]) -> bool:
    """Return whether a safetensors file has a header of this plugin, valid or not."""
    try:
        return is_plain(path) and _KEY in (read_header(path).get("__metadata__") or {})
    except (OSError, LookupError, TypeError, ValueError):
        return False


def kind_of(path: Union[str, Path]) -> str:
    """Return the ``kind`` of a file without reading its tensors."""
    return str(_header(path)["kind"])


def digest_of(path: Union[str, Path]) -> str:
    """Return the stored ``digest`` of a file without reading its tensors."""
    return str(_header(path)["digest"])


def _noun(kind: str) -> str:
    return _NOUNS.get(kind, f"a file of the kind {kind[:40]!r}")


def _header(path: Union[str, Path]) -> dict[str, Any]:
    if not is_plain(path):
        raise LotteryError(f"there is no file {path}")
    try:
        metadata = read_header(path)["__metadata__"]
        if set(metadata) != {_KEY}:
            raise ValueError(f"its metadata has other keys than {_KEY!r}")
        with safe_open(str(path), framework="pt"):  # validates types, shapes and offsets
            header = read_json(metadata[_KEY])
        version = header["version"]
        count(version, "version", 0)
        is_known = version in _HEADERS
        if is_known:
            _HEADERS[version](header, "header", 0)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise LotteryError(
            f"{path} is malformed or was not written by fairseq-lottery ({error})"
        ) from error
    if not is_known:
        raise LotteryError(
            f"{path} has format version {version}, expected {_PLAIN} or {_COMPACT}; update"
            " fairseq-lottery"
        )
    return header


def read_header(path: Union[str, Path]) -> dict[str, Any]:
    """Read the JSON header of a safetensors file, more strictly than safetensors does.

    safetensors accepts repeated names, and types that torch cannot calculate with.

    Raises:
        OSError, LookupError, TypeError, ValueError: the header is not valid.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not length <= min(size - 8, _LONGEST):
            raise ValueError(f"its header of {length} bytes exceeds the file or {_LONGEST} bytes")
        header: Any = read_json(file.read(length).decode())
    if not isinstance(header, dict):
        raise TypeError("its header is not a mapping")
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"the entry of {name} is malformed")
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{name} has type {entry['dtype']}")
        if len(entry["shape"]) > MOST_DIMENSIONS:
            raise ValueError(f"{name} has {len(entry['shape'])} dimensions")
    return header


def read_tensors(path: Union[str, Path], flag: str) -> dict[str, Tensor]:
    """Read a safetensors file that any program may have written.

    Args:
        flag: flag that names the file, for messages.
    """
    if not is_plain(path):
        raise LotteryError(f"{flag} {path} is not a file")
    try:
        read_header(path)
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise LotteryError(f"{flag} {path} is not a readable safetensors file ({error})") from error


def load(path: Union[str, Path], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record of a file of this ``kind``.

    Raises:
        LotteryError: the file is missing, malformed, of another kind or version, or was changed.
    """
    header = _header(path)
    if header["kind"] != kind:
        raise LotteryError(f"{path} is {_noun(header['kind'])}, not {_noun(kind)}")
    record: dict[str, Any] = header.get("record", {})
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, RuntimeError) as error:
        raise LotteryError(f"{path} is malformed ({error})") from error
    if header["version"] == _COMPACT:
        require("zstandard")
        from fairseq_lottery.formats.compact.coded_layout import unpack

        try:
            tensors, record = unpack(tensors)
        except LotteryError as error:
            raise LotteryError(f"{path} is malformed: {error}") from error
    if digest(tensors, record) != header["digest"]:
        raise LotteryError(f"{path} was changed after it was written; its digest does not match")
    return tensors, record


def split(
    path: Union[str, Path], tensors: Mapping[str, Tensor], parts: tuple[str, ...]
) -> dict[str, dict[str, Tensor]]:
    """Return part -> name -> tensor of tensors named ``part/name``; refuse unknown parts."""
    by_part: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part not in by_part:
            raise LotteryError(f"{path} is malformed (unknown entry {key!r})")
        by_part[part][name] = tensor
    return by_part
