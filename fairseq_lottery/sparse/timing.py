"""How long ways of doing the same take, on a machine on which other things may run too."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Callable

#: turns that there are at least, and at most
_LEAST, _MOST = 3, 50


def least_seconds(
    ways: Mapping[str, Callable[[], object]],
    budget: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The shortest time of each way; they take turns, so that all see the same machine.

    Args:
        ways: by name; each has gone once before it is timed.
        budget: seconds after which there are no further turns than the least.
    """
    end = clock() + budget
    for way in ways.values():
        way()
    least = dict.fromkeys(ways, math.inf)
    for turn in range(1, _MOST + 1):
        for name, way in ways.items():
            start = clock()
            way()
            least[name] = min(least[name], clock() - start)
        if turn >= _LEAST and clock() >= end:
            break
    return least
