"""Dictionaries of embeddings: read, stored and compared."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.adapters import DataFolder
from fairseq_lottery.compat import fairseq_module
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_bytes

#: symbols that fairseq puts before those of every dictionary
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
#: maximum bytes and lines of a dictionary file, and maximum bytes of stored symbols. 4,000 symbols
#: have 43 and 30 thousand bytes; in memory short symbols take 25 times as much
LARGEST, _MOST, _LARGEST_STORED = 1 << 24, 1 << 20, 1 << 22


def _encode(symbols: tuple[str, ...]) -> Tensor:
    content = "\n".join(symbols).encode()
    _refuse_large(len(content))
    if not content:  # a single empty symbol
        return torch.zeros(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _decode(text: Any) -> tuple[str, ...]:
    if not isinstance(text, Tensor) or text.dtype != torch.uint8 or text.dim() != 1:
        raise LotteryError("the stored dictionary is not a row of bytes; the file is malformed")
    _refuse_large(text.numel())
    try:
        return tuple(text.numpy().tobytes().decode().split("\n"))
    except UnicodeDecodeError as error:
        raise LotteryError("the stored dictionary is not UTF-8; the file is malformed") from error


def _refuse_large(size: int) -> None:
    if size > _LARGEST_STORED:
        raise LotteryError(
            f"the stored dictionary has {size} bytes, which exceeds {_LARGEST_STORED}; use a"
            " smaller vocabulary"
        )


@dataclass(frozen=True)
class Dictionaries:
    """Dictionaries of a task.

    Attributes:
        symbols: name -> ordered symbols without the four special symbols of fairseq.
    """

    symbols: Mapping[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> tuple[str, ...]:
        """Return the symbols of a dictionary."""
        return self.symbols[name]

    def digests(self) -> dict[str, str]:
        """Return name -> SHA-256 of a dictionary's symbols."""
        return {
            name: hashlib.sha256("\n".join(symbols).encode()).hexdigest()
            for name, symbols in self.symbols.items()
        }

    def refuse_other(self, other: Dictionaries, owner: str) -> None:
        """Refuse dictionaries of the data (``other``) that differ from these (of ``owner``)."""
        if set(self.symbols) != set(other.symbols):
            raise LotteryError(
                f"the data has the dictionaries {_listed(other.symbols)}, expected"
                f" {_listed(self.symbols)} as in {owner}; use data of the same task"
            )
        advice = "preprocess with --srcdict" + (" and --tgtdict" if len(self.symbols) > 1 else "")
        for name, expected in self.symbols.items():
            symbols = other[name]
            for index in (i for i, (a, b) in enumerate(zip(expected, symbols)) if a != b):
                raise LotteryError(
                    f"in the {name} dictionary of the data symbol {index} is {symbols[index]!r},"
                    f" expected {expected[index]!r} as in {owner}; {advice}"
                )
            if len(expected) != len(symbols):
                raise LotteryError(
                    f"the {name} dictionary of the data has {len(symbols)} symbols, expected"
                    f" {len(expected)} as in {owner}; {advice}"
                )

    def to_tensors(self) -> dict[str, Tensor]:
        """Return name -> symbols as UTF-8 bytes, without dictionaries that equal the first."""
        (first, symbols), *rest = self.symbols.items()
        tensors = {first: _encode(symbols)}
        tensors.update({name: _encode(more) for name, more in rest if more != symbols})
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], names: Iterable[str]) -> Dictionaries:
        """Return the inverse of ``to_tensors`` for the dictionaries ``names`` of a task.

        Raises:
            LotteryError: the tensors are malformed, or belong to other dictionaries.
        """
        first, *more = names
        if not isinstance(tensors, Mapping) or not {first} <= set(tensors) <= {first, *more}:
            raise LotteryError(
                f"the stored dictionaries are not {_listed([first, *more])}; the file is malformed"
            )
        symbols = _decode(tensors[first])
        rest = {n: _decode(tensors[n]) if n in tensors else symbols for n in more}
        return cls({first: symbols, **rest})


def _listed(names: Iterable[str]) -> str:
    return " and ".join(names)


def read_dictionaries(folder: DataFolder) -> Dictionaries:
    """Read the dictionaries of a data folder, with the symbols that the task adds.

    Raises:
        LotteryError: a dictionary is missing, or fairseq cannot read it.
    """
    symbols = {}
    for name, file in folder.files.items():
        try:
            stored = _symbols(read_bytes(folder.path / file, LARGEST))
        except (OSError, ValueError, RuntimeError) as error:
            path = folder.path / file
            raise LotteryError(f"the dictionary {path} cannot be read: {error}") from error
        added = folder.added.get(name, ())
        symbols[name] = (*stored, *(s for s in added if s not in (*SPECIAL, *stored)))
    return Dictionaries(symbols)


def _symbols(text: bytes) -> tuple[str, ...]:
    """Return the symbols of a dictionary file as fairseq loads them."""
    if text.count(b"\n") > _MOST:
        raise ValueError(f"its lines exceed {_MOST}")
    lines = io.TextIOWrapper(io.BytesIO(text), encoding="utf-8")
    data = fairseq_module("data")
    if data is not None:
        loaded = data.Dictionary.load(lines)
        return tuple(loaded.symbols[loaded.nspecial :])
    kept = (line.rstrip("\n").replace(" #fairseq:overwrite", "") for line in lines)
    return tuple(line.rsplit(" ", 1)[0] for line in kept if line)
