"""``PruningSchedule``: how a training prunes while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_lottery.options import (
    Prunable,
    Pruning,
    Ranking,
    Schedule,
    ScoreBatches,
    ScoreRounds,
)
from fairseq_lottery.options.axes import INITIAL_SCORES


@dataclass(frozen=True)
class PruningSchedule(ScoreBatches, ScoreRounds, Pruning, Prunable, Ranking, Schedule):
    """A pruner and its schedule during training, in updates (Brix et al. 2020, section 2.1)."""

    @property
    def label(self) -> str:
        """Name of the pruner in folders, or of the score that prunes before the first update."""
        if self.pruner != Pruning.pruner:
            return self.pruner.replace(":", ".")
        return self.score if self.is_initial else "prune"

    @property
    def is_initial(self) -> bool:
        """Whether a score of the start weights prunes once, before the first update."""
        return self.schedule == "one-shot" and self.start == 0 and self.score in INITIAL_SCORES
