"""``LazyTensors``: tensors by name that are computed at each lookup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Callable

from torch import Tensor


class LazyTensors(Mapping[str, Tensor]):
    """Mapping of name -> tensor that computes a tensor at each lookup and stores none."""

    def __init__(self, compute: Callable[[str], Tensor], names: Iterable[str]) -> None:
        self._compute, self._names = compute, tuple(names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._compute(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
