"""``Mask``: the survivors of matrices; counts, comparisons and packing."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError


class Mask(Mapping[str, Tensor]):
    """An immutable mapping from matrix name to bool tensor; True means that a weight is kept.

    Args:
        entries: name -> bool tensor of the matrix's shape.
        protected: name -> row of that matrix that is never prunable (the padding row of an
            embedding). It is kept, and counts neither as prunable nor as pruned.

    Raises:
        LotteryError: there is no entry, a name is not a string, a tensor is empty or not bool, or
            a protected row does not exist or is pruned.

    The denominator of every sparsity is ``prunable``: the weights of all matrices without protected
    rows.
    """

    def __init__(
        self, entries: Mapping[str, Tensor], protected: Optional[Mapping[str, int]] = None
    ) -> None:
        if not entries:
            raise LotteryError("a mask requires at least one matrix; the prunable set is empty")
        for name, keep in entries.items():
            if not isinstance(name, str) or not name:
                raise LotteryError(f"{name!r} in the mask is not the name of a parameter")
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
            if type(row) is not int:  # True would select all rows
                raise LotteryError(f"the protected row of {name} is {row!r}, expected an integer")
            if not 0 <= row < keep.shape[0]:
                raise LotteryError(
                    f"row {row} of {name} is out of range (0 to {keep.shape[0] - 1})"
                )
            if not bool(keep[row].all()):
                raise LotteryError(f"row {row} of {name} is protected, but the mask prunes it")
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
        """Return a mask that keeps all weights."""
        return cls({n: torch.ones(s, dtype=torch.bool) for n, s in shapes.items()}, protected)

    def size(self, name: str) -> int:
        """Return the number of prunable weights of a matrix."""
        keep = self[name]
        row = keep[self.protected[name]].numel() if name in self.protected else 0
        return keep.numel() - row

    def pruned_in(self, name: str) -> int:
        """Return the number of pruned weights of a matrix."""
        return self._pruned[name]

    def sparsity_of(self, name: str) -> float:
        """Return the pruned share of the prunable weights of a matrix."""
        return self._pruned[name] / max(self.size(name), 1)

    @property
    def prunable(self) -> int:
        """Return the number of all prunable weights, the denominator of ``sparsity``."""
        return sum(self.size(name) for name in self)

    @property
    def pruned(self) -> int:
        """Return the number of all pruned weights."""
        return sum(self._pruned.values())

    @property
    def sparsity(self) -> float:
        """Return the pruned share of all prunable weights."""
        return self.pruned / max(self.prunable, 1)

    @property
    def emptied(self) -> list[str]:
        """Return the matrices without survivors."""
        return [name for name in self if self.size(name) == self.pruned_in(name) > 0]

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a model (name -> shape) that does not have the matrices of this mask."""
        for name, keep in self.items():
            if name not in shapes:
                raise LotteryError(f"the mask prunes {name}, which the model does not have")
            if tuple(shapes[name]) != tuple(keep.shape):
                raise LotteryError(
                    f"the mask of {name} has shape {tuple(keep.shape)}, expected"
                    f" {tuple(shapes[name])} as in the model"
                )

    def intersection(self, other: Mask) -> Mask:
        """Return the mask of what both masks keep; refuse masks of different prunable sets."""
        for name in sorted({*self, *other}):
            mine, its = (
                (tuple(m[name].shape), m.protected.get(name)) if name in m else None
                for m in (self, other)
            )
            if mine != its:
                raise LotteryError(
                    f"the two masks have different prunable sets, which differ in {name}"
                )
        return Mask({n: self[n] & other[n] for n in self}, self.protected)

    def is_subset_of(self, other: Mask) -> bool:
        """Return whether ``other`` keeps all weights kept here; missing matrices are kept."""
        return all(
            bool((keep | ~self[name] if name in self else keep).all())
            for name, keep in other.items()
        )

    def digest(self) -> str:
        """Return the SHA-256 of names, shapes, protected rows and bits."""
        sha = hashlib.sha256()
        for name, bits in self.pack().items():
            shape = ",".join(map(str, self[name].shape))
            sha.update(f"{name}|{shape}|{self.protected.get(name, '')}|".encode())
            sha.update(bits.tobytes())
        return sha.hexdigest()

    def pack(self) -> dict[str, np.ndarray]:
        """Return name -> uint8 array, eight weights per byte, the first in the lowest bit."""
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
        """Return the mask of packed bits and shapes; ``pack`` is the inverse."""
        entries = {}
        for name in sorted(set(shapes) - set(packed)):
            raise LotteryError(f"the mask has a shape but no bits of {name}")
        for name, bits in packed.items():
            if name not in shapes:
                raise LotteryError(f"the mask of {name} has no shape")
            if not all(type(size) is int and size >= 0 for size in shapes[name]):
                raise LotteryError(f"the mask of {name} has the invalid shape {shapes[name]!r}")
            count = math.prod(shapes[name])  # numpy's product overflows 64 bits
            if bits.dtype != np.uint8 or bits.ndim != 1 or bits.size != (count + 7) // 8:
                raise LotteryError(f"the packed mask of {name} does not fit {count} weights")
            if count % 8 and bits[-1] >> (count % 8):
                raise LotteryError(f"the packed mask of {name} has bits beyond its last weight")
            flat = np.unpackbits(bits, count=count, bitorder="little").view(np.bool_)
            entries[name] = torch.from_numpy(flat).reshape(tuple(shapes[name]))
        return cls(entries, protected)


def collapse_of(emptied: Collection[str]) -> str:
    """Return a warning of matrices without survivors; empty if there are none."""
    if not emptied:
        return ""
    names = sorted(emptied)
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"layer collapse: all weights of {', '.join(names[:5])}{rest} are pruned; give --scope"
        " layer, --min-density with --scope global, or a lower sparsity"
    )


def union(masks: Iterable[Mask]) -> Mask:
    """Return the mask of what any of the masks keeps; refuse masks of different prunable sets."""
    first, *others = masks
    for mask in others:
        first.intersection(mask)  # refuses another prunable set
    kept = {
        name: reduce(lambda a, b: a | b, (m[name] for m in others), first[name]) for name in first
    }
    return Mask(kept, first.protected)


def overlap(a: Mask, b: Mask) -> dict[str, tuple[float, float]]:
    """Return matrix -> (Jaccard index of the kept weights, chance value of this index).

    The chance value is the Jaccard index of the expected counts if each mask keeps its share of
    the matrix independently at random. Key ``""`` is for all matrices together.
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


def above_chance(jaccard: float, chance: float) -> float:
    """Return an overlap between 0 for independent masks and 1 for equal masks; it may be negative.

    It is 1 for two masks that keep all weights.
    """
    return (jaccard - chance) / (1 - chance) if chance < 1 else 1.0
