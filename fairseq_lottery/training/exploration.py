"""Weights that a run has kept under any of its masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import mask_from_state, mask_to_state
from fairseq_lottery.masks import Mask
from fairseq_lottery.masks.mask import union


class Exploration:
    """Union of the masks that a run with regrowth has trained under.

    Its share of the prunable weights is the in-time over-parameterization rate R_s of Liu et al.
    (2021, "Do we actually need dense over-parameterization?").

    Args:
        mask: first mask.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    @property
    def share(self) -> float:
        """Share of the prunable weights that were ever kept."""
        return 1 - self._mask.sparsity

    def include(self, mask: Mask) -> None:
        """Add the weights that ``mask`` keeps."""
        self._mask = union([self._mask, mask])

    def state(self) -> dict[str, Any]:
        """Return the union as checkpoints store it, one bit per weight."""
        return mask_to_state(self._mask)

    @classmethod
    def restore(cls, stored: Mapping[str, Any], mask: Optional[Mask]) -> Optional[Exploration]:
        """Return the exploration of a checkpoint; None if it has none, as in earlier versions.

        Args:
            stored: state of the run in the checkpoint.
            mask: mask of the checkpoint.

        Raises:
            LotteryError: the stored union does not contain the mask.
        """
        if not stored.get("explored") or mask is None:
            return None
        explored = mask_from_state(stored["explored"])
        explored.intersection(mask)  # refuses another prunable set
        if not mask.is_subset_of(explored):
            raise LotteryError("the explored weights in the checkpoint do not include its mask")
        return cls(explored)
