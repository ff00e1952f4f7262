"""The two dictionaries that a ticket's embeddings were trained with."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.compat import fairseq_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_bytes

#: symbols of fairseq's own in front of those of every dictionary
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
#: bytes and lines of a dictionary's file, and bytes of its symbols in a file of ours. Those of
#: 4,000 symbols have 43 and 30 thousand; in memory short ones take 25 times as much
LARGEST, _MOST, _LARGEST_STORED = 1 << 24, 1 << 20, 1 << 22


def _encode(symbols: tuple[str, ...]) -> Tensor:
    content = "\n".join(symbols).encode()
    _refuse_large(len(content))
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _refuse_large(size: int) -> None:
    if size > _LARGEST_STORED:
        raise LotteryError(
            f"the stored dictionary has {size} bytes, more than {_LARGEST_STORED}; use a smaller"
            " vocabulary"
        )


def _decode(text: Any) -> tuple[str, ...]:
    if not isinstance(text, Tensor) or text.dtype != torch.uint8 or text.dim() != 1:
        raise LotteryError("the stored dictionary is no text; the file is damaged")
    _refuse_large(text.numel())
    try:
        return tuple(text.numpy().tobytes().decode().split("\n"))
    except UnicodeDecodeError as error:
        raise LotteryError("the stored dictionary is no UTF-8 text; the file is damaged") from error


@dataclass(frozen=True)
class Dictionaries:
    """Symbols of the source and target dictionary in order, fairseq's four special ones out."""

    source: tuple[str, ...]
    target: tuple[str, ...]

    def digests(self) -> dict[str, str]:
        """SHA-256 of each side's symbols."""
        return {
            side: hashlib.sha256("\n".join(symbols).encode()).hexdigest()
            for side, symbols in (("source", self.source), ("target", self.target))
        }

    def refuse_other(self, other: Dictionaries, whose: str) -> None:
        """Refuse ``other`` (the data's) unless it is symbol for symbol this one (``whose``)."""
        for side in ("source", "target"):
            ours, theirs = getattr(self, side), getattr(other, side)
            for index, (a, b) in enumerate(zip(ours, theirs)):
                if a != b:
                    raise LotteryError(
                        f"the {side} dictionary of the data is not {whose}'s: symbol {index} is"
                        f" {b!r} in the data and {a!r} in {whose}; preprocess with --srcdict and"
                        " --tgtdict"
                    )
            if len(ours) != len(theirs):
                raise LotteryError(
                    f"the {side} dictionary of the data has {len(theirs)} symbols, {whose}'s has"
                    f" {len(ours)}; preprocess with --srcdict and --tgtdict"
                )

    def to_tensors(self) -> dict[str, Tensor]:
        """``source`` and ``target`` as UTF-8 bytes; one entry where the two are equal."""
        tensors = {"source": _encode(self.source)}
        if self.target != self.source:
            tensors["target"] = _encode(self.target)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Dictionaries:
        """The inverse of ``to_tensors``; refuses what is malformed."""
        if not isinstance(tensors, Mapping) or not {"source"} <= set(tensors) <= {
            "source",
            "target",
        }:
            raise LotteryError("the stored dictionaries are not those of two sides")
        source = _decode(tensors["source"])
        return cls(source, _decode(tensors["target"]) if "target" in tensors else source)


def read_dictionaries(folder: Union[str, Path], source: str, target: str) -> Dictionaries:
    """Read ``dict.<lang>.txt`` of a ``fairseq-preprocess`` folder.

    Raises:
        LotteryError: one is missing, or fairseq cannot read it.
    """

    def symbols(language: str) -> tuple[str, ...]:
        path = Path(folder) / f"dict.{language}.txt"
        try:
            return _symbols(read_bytes(path, LARGEST))
        except (OSError, ValueError, RuntimeError) as error:
            raise LotteryError(f"the dictionary {path} cannot be read: {error}") from error

    return Dictionaries(symbols(source), symbols(target))


def _symbols(text: bytes) -> tuple[str, ...]:
    """Symbols in the file of a dictionary, as fairseq loads them."""
    if text.count(b"\n") > _MOST:
        raise ValueError(f"it has more than {_MOST} lines")
    lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8")
    data = fairseq_data()
    if data is not None:
        loaded = data.Dictionary.load(lines)
        return tuple(loaded.symbols[loaded.nspecial :])
    kept = (line.rstrip("\n").replace(" #fairseq:overwrite", "") for line in lines)
    return tuple(line.rsplit(" ", 1)[0] for line in kept if line)


def fairseq_data() -> Any:
    """Return the module ``fairseq.data``, or None where fairseq cannot be imported."""
    return fairseq_module("data")
