"""Which matrices are worth holding sparse: measured on the machine that multiplies with them.

What a product takes depends on the processor, its caches, torch and the threads, more than on the
density. So both products are timed on the matrix itself, once for all that are alike, and what was
found is kept beside the compiled product: the next run chooses the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Callable, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import read_text, replacing
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.sparse.kernel import cached
from fairseq_lottery.sparse.sparse_matrix import SparseMatrix

logger = logging.getLogger(__name__)

#: dense time over sparse time from which a matrix is held sparse: noise must not turn it round
WORTH = 1.05
#: sentences of a batch: a matrix meets the rows of one sentence and of many
_BATCH = 16
#: bytes that no core's caches hold: a matrix that is multiplied with again and again stays in
#: them, where the others of a model would have driven it out
_CACHES = 1 << 26
#: bytes of a file of choices; one choice has about sixty
_MOST_BYTES = 1 << 20
#: turns of a timing, at least and at most
_LEAST, _MOST = 3, 50
#: what tells processors apart, of the first one's lines in /proc/cpuinfo
_MARKS = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "cache size", "flags"),
    *("CPU implementer", "CPU part", "Features"),
)

Measure = Callable[[Mapping[str, Callable[[], object]]], Mapping[str, float]]


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


class Choices:
    """What sparse products gain here, as far as it was asked for; measured where it is not known.

    Attributes:
        ratios: dense time over sparse time, by what was multiplied.
    """

    def __init__(self, path: Optional[Path] = None, measure: Measure = least_seconds) -> None:
        """Read what was measured before.

        Args:
            path: where to keep it; one that is corrupted is made anew.
            measure: seconds of ways by name.
        """
        self._path, self._measure = path, measure
        self.ratios = _read(path) if path else {}

    def is_worth(self, weight: Tensor, matrix: SparseMatrix, rows: int, among: int = 0) -> bool:
        """Whether ``matrix`` multiplies faster than ``weight``, which it holds.

        Args:
            rows: that it meets for one sentence; as many sentences as a batch has count too.
            among: bytes of all matrices of the model, which follow each other through the caches.
        """
        copies = max(1, min(among, _CACHES) // (weight.numel() * weight.element_size()))
        return all(
            self._ratio(weight, matrix, count, copies) >= WORTH for count in (rows, _BATCH * rows)
        )

    def _ratio(self, weight: Tensor, matrix: SparseMatrix, rows: int, copies: int) -> float:
        density = matrix.values.numel() / weight.numel()
        name = (
            f"{type(matrix).__name__} {matrix.outputs}x{matrix.inputs}, {density:.2f} left,"
            f" {rows} rows, {copies} in turn, {torch.get_num_threads()} threads"
        )
        if name not in self.ratios:
            x = torch.randn(rows, matrix.inputs, generator=torch.Generator().manual_seed(1))
            weights = [weight, *(weight.clone() for _ in range(copies - 1))]
            matrices = [matrix, *(type(matrix)(weight) for _ in range(copies - 1))]
            dense = partial(_last, [partial(F.linear, x, one) for one in weights])
            sparse = partial(_last, [partial(one.linear, x, None) for one in matrices])
            with torch.no_grad():
                seconds = self._measure({"dense": dense, "sparse": sparse})
            # of nothing comes no time that could be divided by
            self.ratios[name] = round(seconds["dense"] / max(seconds["sparse"], 1e-9), 4)
            self._write()
        return self.ratios[name]

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # another process may have measured meanwhile; what was first stays
            self.ratios.update(_read(self._path))
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps(self.ratios, indent=1, sort_keys=True))
        except (LotteryError, OSError) as error:
            logger.warning("what was measured is not kept: %s", error)
            self._path = None


def _last(products: Sequence[Callable[[], Tensor]]) -> Tensor:
    """Multiply with one matrix after the other, as a model does."""
    for product in products[:-1]:
        product()
    return products[-1]()


def kept_choices() -> Choices:
    """Those of this processor, torch and kernel, in the user's cache."""
    made_of = "\n".join((processor(), cached().stem))
    name = f"choices-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.json"
    return Choices(cached().with_name(name))


@cache
def processor() -> str:
    """What tells this processor from others: its name, stepping, caches and instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in lines if line.split(":")[0].strip() in _MARKS)


def _read(path: Path) -> dict[str, float]:
    """What the file says; nothing, where there is none or it is corrupted."""
    try:
        ratios = read_json(read_text(path, _MOST_BYTES))
        if not isinstance(ratios, dict):
            raise ValueError("it holds other things")
        if not all(type(ratio) is float and ratio >= 0 for ratio in ratios.values()):
            raise ValueError("it holds other things")
        return ratios
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s is corrupted and made anew (%s)", path, error)
        return {}
