"""Choose the matrices to store sparse by timing their products on this machine.

The time of a product depends on the processor, its caches, torch and the threads more than on the
density. So dense and sparse products are timed on the matrix itself, once for all similar ones. The
ratios are kept beside the compiled kernel, so the next run makes the same choices.
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
from fairseq_lottery.sparse.sparse_matrix import NativeMatrix, PanelMatrix, SparseMatrix

logger = logging.getLogger(__name__)

#: minimum ratio of dense to sparse time for a sparse matrix, above the noise
WORTH = 1.05
#: sentences of a batch, besides single sentences
_BATCH = 16
#: bytes that exceed the caches of a core; a matrix that is used repeatedly would stay in them, but
#: not among the other matrices of a model
_CACHES = 1 << 26
#: maximum number of matrices that are multiplied in turn, since each must be made
_MOST_COPIES = 256
#: maximum bytes of a file of choices; one choice has about sixty
_MOST_BYTES = 1 << 20
#: minimum and maximum rounds of a timing
_LEAST, _MOST = 3, 50
#: lines of /proc/cpuinfo that identify a processor
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
    """Return the shortest time of each function; they alternate to see the same machine load.

    Args:
        ways: name -> function, which is called once before it is timed.
        budget: seconds after which only the minimum number of rounds is completed.
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
    """Speedups of sparse products on this machine, measured once and stored.

    Attributes:
        ratios: description of a product -> dense time over sparse time.
    """

    def __init__(self, path: Optional[Path] = None, measure: Measure = least_seconds) -> None:
        """Load stored ratios.

        Args:
            path: file of the ratios; a corrupted one is replaced.
            measure: name -> function to name -> seconds.
        """
        self._path, self._measure = path, measure
        self.ratios = _read(path) if path else {}

    def is_worth(self, matrix: SparseMatrix, rows: int, among: int = 0) -> bool:
        """Return whether ``matrix`` multiplies faster than its dense form.

        Args:
            rows: rows of one sentence; those of a batch of sentences are measured too.
            among: bytes of all matrices of the model, which share the caches.
        """
        copies = min(among, _CACHES) // (4 * matrix.outputs * matrix.inputs)
        copies = min(max(1, copies), _MOST_COPIES)
        return all(self._ratio(matrix, count, copies) >= WORTH for count in (rows, _BATCH * rows))

    def _ratio(self, matrix: SparseMatrix, rows: int, copies: int) -> float:
        density = matrix.values.numel() / (matrix.outputs * matrix.inputs)
        name = (
            f"{type(matrix).__name__} {matrix.outputs}x{matrix.inputs}, {density:.2f} left,"
            f" {rows} rows, {copies} in turn, {torch.get_num_threads()} threads"
        )
        if name not in self.ratios:
            x = torch.randn(rows, matrix.inputs, generator=torch.Generator().manual_seed(1))
            weight = matrix.dense()
            matrices = [matrix, *(type(matrix)(weight) for _ in range(copies - 1))]
            sparse = partial(_last, [partial(m.linear, x, None) for m in matrices])
            dense = partial(_last, [_dense_product(weight, matrix, x) for _ in range(copies)])
            with torch.no_grad():
                seconds = self._measure({"dense": dense, "sparse": sparse})
            # avoids a division by zero
            self.ratios[name] = round(seconds["dense"] / max(seconds["sparse"], 1e-9), 4)
            self._write()
        return self.ratios[name]

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # ratios of another process have priority
            self.ratios.update(_read(self._path))
            with replacing(self._path) as temporary:
                temporary.write_text(json.dumps(self.ratios, indent=1, sort_keys=True))
        except (LotteryError, OSError) as error:
            logger.warning("the measured ratios cannot be stored: %s", error)
            self._path = None


def _dense_product(weight: Tensor, matrix: SparseMatrix, x: Tensor) -> Callable[[], Tensor]:
    """Return the product that replaces that with ``matrix``, by a copy of the weights."""
    if isinstance(matrix, NativeMatrix):
        return partial(PanelMatrix(weight).linear, x, None)
    return partial(F.linear, x, weight.clone())


def _last(products: Sequence[Callable[[], Tensor]]) -> Tensor:
    """Call all products in order, as a model does, and return the last one."""
    for product in products[:-1]:
        product()
    return products[-1]()


def kept_choices() -> Choices:
    """Return the choices for this processor, torch and kernel from the user's cache."""
    identity = "\n".join((processor(), cached().stem))
    name = f"choices-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json"
    return Choices(cached().with_name(name))


@cache
def processor() -> str:
    """Return text that identifies the processor: name, stepping, caches and instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(line for line in lines if line.split(":")[0].strip() in _MARKS)


def _read(path: Path) -> dict[str, float]:
    """Return the ratios in a file; empty if it is missing or corrupted."""
    try:
        ratios = read_json(read_text(path, _MOST_BYTES))
        if not isinstance(ratios, dict):
            raise ValueError("it is not a mapping")
        if not all(type(ratio) is float and ratio >= 0 for ratio in ratios.values()):
            raise ValueError("a ratio is not a nonnegative number")
        return ratios
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s is corrupted and is replaced (%s)", path, error)
        return {}
