"""Rounds: prune a model to its final sparsity in steps, with new scores before each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.saliency.private_copy import fill_pruned

#: (scores, mask, sparsity) -> mask pruned to the sparsity
Select = Callable[[Mapping[str, Tensor], Mask, float], Mask]


@dataclass(frozen=True)
class Saliency:
    """How the mask of a score at initialisation is computed.

    Attributes:
        statistic: tensor that the score reads as ``gradient``: ``gradient``,
            ``hessian-gradient``, ``flow``, ``input-norm`` or ``inverse-hessian``.
        rounds: default number of rounds.
        can_regrow: whether a weight that was pruned in a round can regrow in the next.
        lowest: number below all its scores.
    """

    statistic: str
    rounds: int = 1
    can_regrow: bool = False
    lowest: float = -1.0

    @property
    def ranks_later(self) -> bool:
        """Whether sums of gradients of the training can replace its statistic."""
        return self.statistic == "gradient" and not self.can_regrow

    @property
    def reads_file(self) -> bool:
        """Whether its mask follows from a file with its statistic of the dense model."""
        return self.needs_data and not self.can_regrow

    @property
    def reads_inputs(self) -> bool:
        """Whether its statistic is of inputs, so that batches of one example avoid padding."""
        return self.statistic in ("input-norm", "inverse-hessian")

    @property
    def needs_data(self) -> bool:
        """Whether its statistic is a sum over batches."""
        return self.statistic != "flow"


#: score -> how its mask is computed before the first update
SALIENCIES = {
    "snip": Saliency("gradient"),
    # the default of the authors' code
    "force": Saliency("gradient", rounds=10, can_regrow=True),
    "grasp": Saliency("hessian-gradient", lowest=float(torch.finfo(torch.float32).min)),
    "synflow": Saliency("flow", rounds=100),
    "wanda": Saliency("input-norm"),
    "sparsegpt": Saliency("inverse-hessian"),
}


def sparsities(initial: float, final: float, rounds: int) -> list[float]:
    """Return the sparsity after each round; the density decreases exponentially.

    All methods use this schedule (Tanaka et al. 2020, section 6; de Jorge et al. 2021).
    """
    if rounds < 1:
        raise LotteryError(f"--score-rounds {rounds} is out of range; give 1 or more")
    ratio = (1 - final) / (1 - initial)
    # libraries differ in the last bits of a power
    steps = [round(1 - (1 - initial) * ratio ** (i / rounds), 12) for i in range(1, rounds)]
    return [*(min(max(step, initial), final) for step in steps), final]


def prune_by_rounds(
    score: str,
    scores_under: Callable[[Mask], Mapping[str, Tensor]],
    mask: Mask,
    sparsity: float,
    select: Select,
    rounds: Optional[int] = None,
    initial: Optional[float] = None,
) -> Mask:
    """Return ``mask`` pruned to ``sparsity`` by a score of ``SALIENCIES``.

    Args:
        scores_under: computes matrix -> fp32 scores of the model under a mask.
        select: prunes a mask by scores to a sparsity, as ``fairseq_lottery.masks.select``.
        rounds: number of rounds; by default that of the score.
        initial: requested sparsity of ``mask``, if rounding changed it.
    """
    saliency = SALIENCIES[score]
    first = mask.sparsity if initial is None else initial
    current = mask
    for step in sparsities(first, sparsity, saliency.rounds if rounds is None else rounds):
        scores = scores_under(current)
        if current is not mask and not saliency.can_regrow:
            # ranked below all others they stay pruned, and the selection need not read the mask
            scores = {name: scores[name] for name in mask}
            for name, values in scores.items():
                fill_pruned(values, current[name], saliency.lowest)
        current = select(scores, mask, step)
    return current
