"""``N:M`` as a scope: in every M consecutive weights of a row N stay.

Parsing only: a configuration is read without torch. ``fairseq_lottery.masks.nm_selection`` selects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError

#: no zero before a number: a scope is recorded as it is given, and has one spelling
_WRITTEN = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
#: how far a written sparsity may lie from 1 - N/M, which for 1:3 has no end
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Pattern:
    """N weights of every M stay, 0 < N < M (Mishra et al. 2021 for 2:4, on GPUs)."""

    kept: int
    group: int

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    @classmethod
    def parse(cls, scope: str) -> Optional[Pattern]:
        """The pattern that a scope names; None for every other scope."""
        found = _WRITTEN.fullmatch(scope)
        if not found or int(found[1]) >= int(found[2]):
            return None
        return cls(int(found[1]), int(found[2]))

    @property
    def sparsity(self) -> float:
        """The one sparsity that a mask of this pattern has."""
        return 1 - self.kept / self.group

    def has(self, sparsity: float) -> bool:
        """Whether a written sparsity is the pattern's."""
        return abs(sparsity - self.sparsity) <= _TOLERANCE

    def refuse_other(self, sparsity: float) -> None:
        """Refuse a sparsity that is not the pattern's.

        Raises:
            LotteryError: it is another one.
        """
        if not self.has(sparsity):
            raise LotteryError(
                f"--sparsity {sparsity:g} is not that of --scope {self}, which prunes"
                f" {self.group - self.kept} of every {self.group} weights, {self.sparsity:.6g};"
                " leave --sparsity out"
            )
