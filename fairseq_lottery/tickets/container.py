"""One safetensors file with named tensors, a JSON record and a digest over both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing

_KEY = "fairseq_lottery"
_VERSION = 1


def digest(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """SHA-256 over the record and every tensor's name, type, shape and bytes."""
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
) -> None:
    """Write the file atomically; the same content gives the same bytes."""
    header = {
        "kind": kind,
        "version": _VERSION,
        "record": record,
        "digest": digest(tensors, record),
    }
    with replacing(path, overwrite) as temporary:
        contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        try:
            # one key only: safetensors does not fix the order of several
            save_file(contiguous, str(temporary), metadata={_KEY: _json(header)})
        except SafetensorError as error:
            raise LotteryError(f"{path} cannot be written: {error}") from error


def kind_of(path: Union[str, Path]) -> str:
    """The ``kind`` a file was saved as, without reading its tensors."""
    return str(_header(path)["kind"])


def digest_of(path: Union[str, Path]) -> str:
    """The ``digest`` a file was saved with, without reading its tensors."""
    return str(_header(path)["digest"])


def _header(path: Union[str, Path]) -> dict[str, Any]:
    if not Path(path).is_file():
        raise LotteryError(f"there is no file {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
        version = header["version"]
        types = {"kind": str, "record": dict, "digest": str}
        if version == _VERSION and not all(isinstance(header[k], types[k]) for k in types):
            raise TypeError("its record is malformed")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise LotteryError(
            f"{path} is damaged or was not written by fairseq-lottery ({error})"
        ) from error
    if version != _VERSION:
        raise LotteryError(
            f"{path} has format version {version}, this fairseq-lottery reads {_VERSION};"
            " update fairseq-lottery"
        )
    return header


def load(path: Union[str, Path], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of this ``kind`` whole: its tensors and its record.

    Raises:
        LotteryError: missing, damaged, of another kind or version, or changed since it was
            written.
    """
    header = _header(path)
    if header["kind"] != kind:
        raise LotteryError(f"{path} is a {header['kind']}, not a {kind}")
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise LotteryError(f"{path} is damaged ({error})") from error
    if digest(tensors, header["record"]) != header["digest"]:
        raise LotteryError(f"{path} was changed after it was written; its digest does not match")
    return tensors, header["record"]


def split(
    path: Union[str, Path], tensors: Mapping[str, Tensor], parts: tuple[str, ...]
) -> dict[str, dict[str, Tensor]]:
    """Sort tensors named ``part/name`` by part; refuses a part that is not expected."""
    found: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if part not in found:
            raise LotteryError(f"{path} is damaged (it has an unknown entry {key!r})")
        found[part][name] = tensor
    return found
