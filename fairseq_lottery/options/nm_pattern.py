"""Parse ``N:M`` scopes, which keep N of every M consecutive weights of a row.

torch is not imported; ``fairseq_lottery.masks.nm_selection`` selects the weights.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError

#: without leading zeros, so that each stored scope has one spelling
_WRITTEN = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
#: tolerance of a sparsity in decimal digits for 1 - N/M
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Pattern:
    """A pattern that keeps N of every M weights, 0 < N < M (Mishra et al. 2021: 2:4 on GPUs)."""

    kept: int
    group: int

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    @classmethod
    def parse(cls, scope: str) -> Optional[Pattern]:
        """Return the pattern of a scope N:M, None for every other scope."""
        match = _WRITTEN.fullmatch(scope)
        if not match or int(match[1]) >= int(match[2]):
            return None
        return cls(int(match[1]), int(match[2]))

    @property
    def sparsity(self) -> float:
        """Return the sparsity of every mask with this pattern."""
        return 1 - self.kept / self.group

    def has(self, sparsity: float) -> bool:
        """Return whether ``sparsity`` is that of the pattern."""
        return abs(sparsity - self.sparsity) <= _TOLERANCE

    def refuse_other(self, sparsity: float) -> None:
        """Refuse a sparsity that is not that of the pattern."""
        if not self.has(sparsity):
            raise LotteryError(
                f"--scope {self} prunes {self.group - self.kept} of every {self.group} weights:"
                f" expected sparsity {self.sparsity:.6g}, not {sparsity:g}; leave --sparsity out"
            )
