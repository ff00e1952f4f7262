"""``ComponentMask``: which heads, FFN units and FFN blocks are kept and which are pruned."""

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

#: output of a pruned head: zero, or the mean of the values that it could attend to. The second is
#: what masking scores before the softmax does (the public code of Budhraja et al. 2020)
MODES = ("zero", "uniform")
#: module and number of a component, from 0
Component = tuple[str, int]


class ComponentMask:
    """An immutable mask over components: kind -> module -> bool tensor, True where kept.

    Args:
        anatomy: the components of the model.
        pruned: kind -> module -> numbers of the pruned components, from 0.
        mode: output of a pruned head, one of ``MODES``.

    Raises:
        LotteryError: a component does not exist in the model, or occurs twice.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        pruned: Mapping[str, Mapping[str, list[int]]],
        mode: str = "zero",
    ) -> None:
        if mode not in MODES:
            raise LotteryError(
                f"mode {mode[:40]!r} of pruned heads is unknown; choose {' or '.join(MODES)}"
            )
        self.anatomy, self.mode = anatomy, mode
        self._kept = {
            kind: {name: torch.ones(size, dtype=torch.bool) for name, size in sizes.items()}
            for kind, sizes in anatomy.sizes.items()
        }
        for kind, modules in pruned.items():
            if kind not in KINDS:
                raise LotteryError(f"{kind!r} cannot be pruned; choose one of {', '.join(KINDS)}")
            for name, numbers in modules.items():
                if name not in self._kept[kind]:
                    raise LotteryError(f"the model has no {kind} in {name[:300]!r}")
                size = self._kept[kind][name].numel()
                for number in numbers:
                    if type(number) is not int or not 0 <= number < size:
                        raise LotteryError(
                            f"{kind} {repr(number)[:40]} of {name} is out of range (0 to"
                            f" {size - 1})"
                        )
                    if not self._kept[kind][name][number]:
                        raise LotteryError(f"{kind} {number} of {name} is listed twice")
                    self._kept[kind][name][number] = False

    @classmethod
    def of(
        cls, anatomy: Anatomy, kept: Mapping[str, Mapping[str, Tensor]], mode: str = "zero"
    ) -> ComponentMask:
        """Create a mask from bool tensors; kinds and modules without a tensor are kept."""
        pruned = {
            kind: {n: torch.nonzero(~keep).flatten().tolist() for n, keep in modules.items()}
            for kind, modules in kept.items()
        }
        return cls(anatomy, pruned, mode)

    def __getitem__(self, kind: str) -> Mapping[str, Tensor]:
        return self._kept[kind]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComponentMask) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]

    def count(self, kind: str) -> int:
        """Return how many components of a kind the model has."""
        return self.anatomy.count(kind)

    def count_pruned(self, kind: str) -> int:
        """Return how many components of a kind are pruned."""
        return sum(int((~keep).sum()) for keep in self._kept[kind].values())

    def pruned(self, kind: str) -> Iterator[Component]:
        """Yield the module and number of each pruned component."""
        for name, keep in self._kept[kind].items():
            yield from ((name, number) for number in torch.nonzero(~keep).flatten().tolist())

    def kept_units(self, layer: str) -> Tensor:
        """Return which FFN units of a layer are kept: none if its block is pruned."""
        return self._kept["units"][layer] & self._kept["blocks"][layer]

    @property
    def layers_with_pruned_ffn(self) -> list[str]:
        """Layers with pruned FFN units or a pruned FFN block."""
        return [name for name in self.anatomy.units if not bool(self.kept_units(name).all())]

    def without(self, kind: str, components: Iterable[Component]) -> ComponentMask:
        """Return a mask that prunes more components of a kind; reject those pruned already."""
        pruned = self.to_json()["closed"]
        for name, number in components:
            pruned[kind].setdefault(name, []).append(number)
        return ComponentMask(self.anatomy, pruned, self.mode)

    def to_json(self) -> dict[str, Any]:
        """Return plain values as choice files store them: ``closed`` lists pruned components."""
        pruned: dict[str, dict[str, list[int]]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            for name, number in self.pruned(kind):
                pruned[kind].setdefault(name, []).append(number)
        return {
            "mode": self.mode,
            "heads": dict(self.anatomy.heads),
            "units": dict(self.anatomy.units),
            "closed": pruned,
        }

    def digest(self) -> str:
        """Return the SHA-256 of the mask; equal masks of equal models have equal digests."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def shuffled(
    components: Iterable[Component], sizes: Mapping[str, int], purpose: str, seed: int
) -> list[Component]:
    """Return ``components`` in a random order, which depends on a seed and on names only.

    Each component has its own random number, from ``purpose``, the seed, and the name and size of
    its module. So the order of a subset is the order of all components without the others.

    Args:
        sizes: module -> number of its components.
    """
    components = list(components)
    names = {name for name, _ in components}
    numbers = {n: raw_bits(f"{purpose}|{seed}|{n}", sizes[n]).tolist() for n in names}
    return sorted(components, key=lambda one: (numbers[one[0]][one[1]], one))
