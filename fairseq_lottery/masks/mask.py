"""``Mask``: which weights survive, and how it is counted, compared and packed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError


class Mask(Mapping[str, Tensor]):
    """An immutable mapping from matrix name to bool tensor; True means the weight stays.

    Args:
        entries: name -> bool tensor of the matrix's shape.
        protected: name -> a row of that matrix that is never prunable (the padding row of
            an embedding). It is kept, and neither counted as prunable nor as pruned.

    Raises:
        LotteryError: no entry, a name that is no string, a tensor that is not bool or
            empty, a protected row that does not exist or is pruned.

    The denominator of every sparsity is ``prunable``: the number of weights that the mask
    speaks of, protected rows left out.
    """

    def __init__(
        self, entries: Mapping[str, Tensor], protected: Optional[Mapping[str, int]] = None
    ) -> None:
        if not entries:
            raise LotteryError("a mask needs at least one matrix; the prunable set is empty")
        for name, keep in entries.items():
            if not isinstance(name, str) or not name:
                raise LotteryError(f"a mask is named by parameters, and {name!r} is no name")
            if not isinstance(keep, Tensor) or keep.dtype != torch.bool:
                raise LotteryError(f"the mask of {name} must be a bool tensor")
            if keep.numel() == 0:
                raise LotteryError(f"the mask of {name} is empty")
        self._entries: dict[str, Tensor] = {
            name: entries[name].contiguous() for name in sorted(entries)
        }
        self.protected: dict[str, int] = dict(sorted((protected or {}).items()))
        for name, row in self.protected.items():
            if name not in self._entries:
                raise LotteryError(f"a row of {name} is protected, but the mask has no {name}")
            keep = self._entries[name]
            if type(row) is not int:  # True would be all rows at once
                raise LotteryError(f"the protected row of {name} is {row!r}, which is no number")
            if not 0 <= row < keep.shape[0]:
                raise LotteryError(f"{name} has {keep.shape[0]} rows, so row {row} is none of them")
            if not bool(keep[row].all()):
                raise LotteryError(f"row {row} of {name} is never prunable, but the mask prunes it")
        self._pruned = {n: k.numel() - int(torch.count_nonzero(k)) for n, k in self.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.digest() == other.digest()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def full(
        cls, shapes: Mapping[str, tuple[int, ...]], protected: Optional[Mapping[str, int]] = None
    ) -> Mask:
        """The mask that keeps everything."""
        return cls({n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()}, protected)

    def size(self, name: str) -> int:
        """Prunable weights of one matrix."""
        keep = self[name]
        row = keep[self.protected[name]].numel() if name in self.protected else 0
        return keep.numel() - row

    def pruned_in(self, name: str) -> int:
        """Pruned weights of one matrix."""
        return self._pruned[name]

    def sparsity_of(self, name: str) -> float:
        """Pruned share of the prunable weights of one matrix."""
        return self._pruned[name] / max(self.size(name), 1)

    @property
    def prunable(self) -> int:
        """Prunable weights in all: the denominator of ``sparsity``."""
        return sum(self.size(name) for name in self)

    @property
    def pruned(self) -> int:
        """Pruned weights in all."""
        return sum(self._pruned.values())

    @property
    def sparsity(self) -> float:
        """Pruned share of the prunable weights."""
        return self.pruned / max(self.prunable, 1)

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a model (name -> shape) that this mask is not for."""
        for name, keep in self.items():
            if name not in shapes:
                raise LotteryError(f"the mask prunes {name}, which the model does not have")
            if tuple(shapes[name]) != tuple(keep.shape):
                raise LotteryError(
                    f"the mask of {name} has shape {tuple(keep.shape)}, "
                    f"the model's is {tuple(shapes[name])}"
                )

    def intersection(self, other: Mask) -> Mask:
        """What both masks keep; refuses masks of different prunable sets."""
        for name in sorted({*self, *other}):
            mine, others = (
                (tuple(m[name].shape), m.protected.get(name)) if name in m else None
                for m in (self, other)
            )
            if mine != others:
                raise LotteryError(f"the two masks have different prunable sets: see {name}")
        return Mask({n: self[n] & other[n] for n in self}, self.protected)

    def is_subset_of(self, other: Mask) -> bool:
        """Whether every weight kept here is kept there; what a mask lacks, it keeps."""
        return all(
            bool((there | ~self[name] if name in self else there).all())
            for name, there in other.items()
        )

    def digest(self) -> str:
        """SHA-256 over names, shapes, protected rows and bits: equal masks, equal digest."""
        sha = hashlib.sha256()
        for name, bits in self.pack().items():
            shape = ",".join(map(str, self[name].shape))
            sha.update(f"{name}|{shape}|{self.protected.get(name, '')}|".encode())
            sha.update(bits.tobytes())
        return sha.hexdigest()

    def pack(self) -> dict[str, np.ndarray]:
        """Name -> uint8 array, eight weights a byte, the first weight in the lowest bit."""
        return {
            n: np.packbits(k.reshape(-1).cpu().numpy(), bitorder="little") for n, k in self.items()
        }

    @classmethod
    def unpack(
        cls,
        packed: Mapping[str, np.ndarray],
        shapes: Mapping[str, tuple[int, ...]],
        protected: Optional[Mapping[str, int]] = None,
    ) -> Mask:
        """The inverse of ``pack``, given each matrix's shape."""
        entries = {}
        for name in sorted(set(shapes) - set(packed)):
            raise LotteryError(f"the mask has a shape of {name}, but no bits")
        for name, bits in packed.items():
            if name not in shapes:
                raise LotteryError(f"the mask of {name} has no shape")
            if not all(type(size) is int and size >= 0 for size in shapes[name]):
                raise LotteryError(f"the mask of {name} has the shape {shapes[name]!r}")
            count = math.prod(shapes[name])  # numpy's would wrap around beyond 64 bits
            if bits.dtype != np.uint8 or bits.ndim != 1 or bits.size != (count + 7) // 8:
                raise LotteryError(f"the packed mask of {name} does not fit {count} weights")
            if count % 8 and bits[-1] >> (count % 8):
                raise LotteryError(f"the packed mask of {name} has bits beyond its last weight")
            flat = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
            entries[name] = torch.from_numpy(flat).reshape(tuple(shapes[name]))
        return cls(entries, protected)


def overlap(a: Mask, b: Mask) -> dict[str, tuple[float, float]]:
    """Overlap of the weights that two masks keep: matrix -> (Jaccard index, its chance value).

    The chance value is the Jaccard index of the expected counts when each mask keeps its
    share of the matrix independently at random. Key ``""`` stands for all matrices.
    """
    a.intersection(b)  # refuses masks of different prunable sets
    rows: dict[str, tuple[float, float]] = {}
    both = either = chance_both = chance_either = 0.0
    for name in a:
        size = a.size(name)
        extra = a[name].numel() - size
        shared = int(torch.count_nonzero(a[name] & b[name])) - extra
        kept_a, kept_b = size - a.pruned_in(name), size - b.pruned_in(name)
        expected = kept_a * kept_b / max(size, 1)
        rows[name] = (
            shared / max(kept_a + kept_b - shared, 1),
            expected / max(kept_a + kept_b - expected, 1),
        )
        both, either = both + shared, either + kept_a + kept_b - shared
        chance_both += expected
        chance_either += kept_a + kept_b - expected
    rows[""] = (both / max(either, 1), chance_both / max(chance_either, 1))
    return rows
