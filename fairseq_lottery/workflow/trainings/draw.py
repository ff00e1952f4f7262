"""``Draw``: from which trainings, and how, the ticket of a training is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from fairseq_lottery.options import MaskControl, Prunable, Ranking, Reset
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.pair_mask import PairMask

if TYPE_CHECKING:
    from fairseq_lottery.workflow.trainings.training import Training, Weights


@dataclass(frozen=True)
class DrawnFrom:
    """The sources of a ticket, as ``options.Sources`` with trainings instead of files.

    Attributes:
        mask_from: the training whose last weights are ranked.
        start: the weights that survivors are reset to.
        sparsity: share of the prunable weights that is pruned.
        takes_mask: reuse the mask of ``mask_from`` instead of ranking weights.
        components: components that are also pruned, or the weights that a search prunes.
        pair_masks: masks of pairs of languages, each of this sparsity. The ticket has their union;
            ``mask_from`` is then not ranked.
    """

    mask_from: Training
    start: Weights
    sparsity: float
    takes_mask: bool = False
    components: Optional[ComponentChoice] = None
    pair_masks: tuple[PairMask, ...] = ()


@dataclass(frozen=True)
class Draw(MaskControl, Reset, Prunable, Ranking, DrawnFrom):
    """A ticket: its sources, and the options of its draw."""

    @property
    def first_update(self) -> int:
        """Update at which the ticket's training starts."""
        return self.start.update if self.update_counter == "rewind" else 0

    @property
    def read_weights(self) -> list[Weights]:
        """Weights that the draws read from snapshots."""
        ranked = [] if self.moments == "keep" else [self.mask_from.at(self.mask_from.updates)]
        return [*ranked, self.start, *(mask.weights for mask in self.pair_masks)]

    @property
    def mask_file(self) -> str:
        """Path of the weights that are ranked: a snapshot, or a checkpoint to keep moments."""
        run = self.mask_from
        return run.state_file if self.moments == "keep" else run.at(run.updates).file
