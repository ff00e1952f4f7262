"""``DrawPlan``: all options that determine a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import (
    DRAW,
    Prunable,
    Ranking,
    Reset,
    Scope,
    Seed,
    Sources,
    check_scope,
    options,
    values,
)
from fairseq_lottery.options.nm_pattern import Pattern


@dataclass(frozen=True)
class DrawPlan(Seed, Reset, Prunable, Ranking, Sources):
    """All options that determine a ticket; ``fairseq_lottery.options`` explains each."""

    def __post_init__(self) -> None:
        for option in options(Reset):
            if option.axis is not None:
                option.axis.refuse_unknown(getattr(self, option.name))
        if self.mask_file is None:
            check_scope(**values(self, Scope))
            if self.target_sparsity is not None:
                check_sparsity(self.target_sparsity)
            elif self.components is None:
                raise LotteryError(
                    "the draw has no sparsity; give --sparsity, --mask-file or --components"
                )
        else:
            sources = [o for o in options(Sources) if o.name in ("sparsity", "score_file")]
            for option in (*sources, *options(Ranking, Prunable)):
                if getattr(self, option.name) != option.default:
                    flag = option.flag_in(DRAW)
                    raise LotteryError(f"--mask-file excludes {flag}; leave {flag} out")
        if self.score_file is not None and self.score != "magnitude":
            raise LotteryError(f"--score-file excludes --score {self.score}; give one of them")

    @property
    def target_sparsity(self) -> Optional[float]:
        """Return the sparsity of the plan or of its scope N:M; None if there is neither.

        Raises:
            LotteryError: the sparsity is not that of the scope.
        """
        pattern = Pattern.parse(self.scope)
        if pattern is None:
            return self.sparsity
        if self.sparsity is not None:
            pattern.refuse_other(self.sparsity)
        return pattern.sparsity
