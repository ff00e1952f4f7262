"""Masks of pairs of languages in the descriptions of trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairseq_lottery.workflow.trainings.training import Training, Weights

#: file with the masks of a training, which is kept: it has one bit for each weight and mask
PAIR_MASKS = "pair-masks.safetensors"


@dataclass(frozen=True)
class PairMask:
    """The mask of some pairs of languages, drawn from the last weights of a training."""

    pairs: tuple[str, ...]
    run: Training

    @property
    def weights(self) -> Weights:
        """The weights that are ranked."""
        return self.run.at(self.run.updates)

    @property
    def is_own(self) -> bool:
        """Whether the training has the pairs; if not, the mask is that of other pairs."""
        return set(self.pairs) <= set(self.run.flags.pairs)

    @property
    def content(self) -> list[str]:
        """Everything that decides the mask, besides the options of the draw."""
        return [*self.pairs, self.run.fingerprint]


def pair_words(training: Training) -> list[str]:
    """Return what the label of a training with a ticket says of pairs of languages."""
    assert training.ticket is not None
    masks, run = training.pair_masks, training.ticket.mask_from
    if masks:
        is_permuted = not all(mask.is_own for mask in masks)
        return [*(["permuted"] if is_permuted else []), f"masks{len(masks)}"]
    pairs = training.flags.pairs
    if run.data != training.data or not set(pairs) < set(run.flags.pairs):
        return []
    return [f"only-{pairs[0]}{f'-and{len(pairs) - 1}' if len(pairs) > 1 else ''}"]
