"""``DrawPlan``: all options that determine a ticket."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.schedules import check_sparsity
from fairseq_lottery.options import (
    DRAW,
    MaskControl,
    Prunable,
    Ranking,
    Reset,
    Scope,
    ScoreRounds,
    Seed,
    Sources,
    check_scope,
    options,
    values,
)
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.saliency import SALIENCIES


@dataclass(frozen=True)
class DrawPlan(ScoreRounds, MaskControl, Seed, Reset, Prunable, Ranking, Sources):
    """All options that determine a ticket; ``fairseq_lottery.options`` explains each."""

    def __post_init__(self) -> None:
        for option in options(Reset):
            if option.axis is not None:
                option.axis.refuse_unknown(getattr(self, option.name))
        self._check_noise()
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
        self._check_rounds()

    def _check_rounds(self) -> None:
        """Refuse rounds of a score without any, and several rounds under a scope N:M."""
        saliency = SALIENCIES.get(self.score)
        if saliency is None:
            if self.score_rounds is not None:
                raise LotteryError(
                    f"--score-rounds is not an option of --score {self.score}; leave it out"
                )
            return
        rounds = saliency.rounds if self.score_rounds is None else self.score_rounds
        if rounds > 1 and Pattern.parse(self.scope) is not None:
            one = "" if saliency.can_regrow else "set --score-rounds 1, or "
            raise LotteryError(
                f"--score {self.score} prunes in {rounds} rounds, but --scope {self.scope} has one"
                f" sparsity only; {one}choose another scope"
            )

    def _check_noise(self) -> None:
        """Refuse a reset with noise without its scale, and a scale that nothing uses."""
        scale = self.noise_scale
        if self.reset == "noise" and scale is None:
            raise LotteryError("--reset noise requires --noise-scale, such as 0.1; give it")
        if scale is None:
            return
        if self.reset != "noise":
            raise LotteryError(f"--noise-scale requires --reset noise, not {self.reset}; omit it")
        if not 0 < scale < math.inf:
            raise LotteryError(f"--noise-scale {scale:g} is not a positive number; 0.1 adds 10 %")

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
