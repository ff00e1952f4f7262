"""``Parts``: which heads, FFN units and FFN blocks stay open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.masks.streams import raw_bits

#: what a closed head gives: nothing, or the mean of the values that it may look at. The second
#: is what masking scores before the softmax does (the public code of Budhraja et al. 2020)
MODES = ("zero", "uniform")
#: module and number of a part, from 0
Part = tuple[str, int]


class Parts:
    """An immutable choice: kind -> module -> bool tensor, one entry a part; True is open.

    Args:
        anatomy: of the model that it is for.
        closed: kind -> module -> numbers of the parts that are closed, from 0.
        mode: what a closed head gives, one of ``MODES``.

    Raises:
        LotteryError: a part that the model does not have, or that is named twice.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        closed: Mapping[str, Mapping[str, list[int]]],
        mode: str = "zero",
    ) -> None:
        if mode not in MODES:
            raise LotteryError(
                f"there is no mode {mode[:40]!r} of a closed head; {' or '.join(MODES)}"
            )
        self.anatomy, self.mode = anatomy, mode
        self._open = {
            kind: {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
            for kind, sizes in anatomy.sizes.items()
        }
        for kind, modules in closed.items():
            if kind not in KINDS:
                raise LotteryError(f"{kind!r} cannot be closed; {', '.join(KINDS)} can")
            for name, numbers in modules.items():
                if name not in self._open[kind]:
                    raise LotteryError(f"the model has no {kind} in {name[:300]!r}")
                size = self._open[kind][name].numel()
                for number in numbers:
                    if type(number) is not int or not 0 <= number < size:
                        raise LotteryError(
                            f"{name} has {kind} 0 to {size - 1}, and {repr(number)[:40]} is none of"
                            " them"
                        )
                    if not self._open[kind][name][number]:
                        raise LotteryError(f"{name} has its {kind} {number} closed twice")
                    self._open[kind][name][number] = False

    @classmethod
    def of(
        cls, anatomy: Anatomy, opened: Mapping[str, Mapping[str, Tensor]], mode: str = "zero"
    ) -> Parts:
        """Create a choice from bool tensors; a kind or module that is left out is open."""
        closed = {
            kind: {n: torch.nonzero(~keep).flatten().tolist() for n, keep in modules.items()}
            for kind, modules in opened.items()
        }
        return cls(anatomy, closed, mode)

    def __getitem__(self, kind: str) -> Mapping[str, Tensor]:
        return self._open[kind]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def count(self, kind: str) -> int:
        """Parts of a kind that the model has."""
        return sum(keep.numel() for keep in self._open[kind].values())

    def count_closed(self, kind: str) -> int:
        """Parts of a kind that are closed."""
        return sum(int((~keep).sum()) for keep in self._open[kind].values())

    def closed(self, kind: str) -> Iterator[Part]:
        """Module and number of each closed part."""
        for name, keep in self._open[kind].items():
            yield from ((name, number) for number in torch.nonzero(~keep).flatten().tolist())

    @property
    def cut_layers(self) -> list[str]:
        """Layers with closed FFN units, or whose FFN block is closed."""
        return list(dict.fromkeys(n for kind in ("units", "blocks") for n, _ in self.closed(kind)))

    def without(self, kind: str, parts: Iterable[Part]) -> Parts:
        """Return the choice with more parts of a kind closed; refuses those that are already."""
        closed = self.to_json()["closed"]
        for name, number in parts:
            closed[kind].setdefault(name, []).append(number)
        return Parts(self.anatomy, closed, self.mode)

    def intersection(self, other: Parts) -> Parts:
        """Return what is open in both; refuses parts of another model or mode."""
        if self.anatomy != other.anatomy:
            raise LotteryError("the two choices of heads and units are of different models")
        if self.mode != other.mode and self.count_closed("heads") and other.count_closed("heads"):
            raise LotteryError("closed heads give zero in one choice and the mean in the other")
        mode = self.mode if self.count_closed("heads") else other.mode
        both = {
            kind: {name: keep & other[kind][name] for name, keep in self[kind].items()}
            for kind in KINDS
        }
        return Parts.of(self.anatomy, both, mode)

    def to_json(self) -> dict[str, Any]:
        """Plain values; modules without a closed part are not among ``closed``."""
        closed: dict[str, dict[str, list[int]]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            for name, number in self.closed(kind):
                closed[kind].setdefault(name, []).append(number)
        return {
            "mode": self.mode,
            "heads": dict(self.anatomy.heads),
            "units": dict(self.anatomy.units),
            "closed": closed,
        }

    def digest(self) -> str:
        """SHA-256: equal choices of equal models, equal digest."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def shuffled(
    parts: Iterable[Part], sizes: Mapping[str, int], purpose: str, seed: int
) -> list[Part]:
    """Return ``parts`` in a random order, which depends on a seed and on names alone.

    Every part has a number of its own, by ``purpose``, the seed, and its module's name and size:
    so an order of some parts is that of all with the others left out.

    Args:
        sizes: module -> how many parts it has.
    """
    parts = list(parts)
    names = {name for name, _ in parts}
    numbers = {n: raw_bits(f"{purpose}|{seed}|{n}", sizes[n]).tolist() for n in names}
    return sorted(parts, key=lambda part: (numbers[part[0]][part[1]], part))
