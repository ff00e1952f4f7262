"""Agreement of two measures of importance in how they rank the components."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.masks import count_to_prune


@dataclass(frozen=True)
class RankAgreement:
    """Agreement of two rankings; correlations are NaN if all scores of a measure are equal.

    Attributes:
        components: number of ranked components.
        spearman: the correlation of ranks; equal scores share their mean rank.
        kendall: tau-b: concordant minus discordant pairs, corrected for ties.
        lowest: number of components that count as the lowest: half of them, halves rounded up.
        overlap: share of the lowest of one measure that is among the lowest of the other; of
            equal scores the first counts as lower, as in the strategy ``lowest``.
        chance: expected overlap of two random rankings, ``lowest`` / ``components``.
    """

    components: int
    spearman: float
    kendall: float
    lowest: int
    overlap: float
    chance: float


def rank_agreement(a: Scores, b: Scores, kind: str = "heads") -> RankAgreement:
    """Return Spearman's rho, Kendall's tau, and the overlap of the components with low scores.

    Raises:
        LotteryError: there are no scores, they are of different models, or not finite.
    """
    sizes = [{n: tuple(v.shape) for n, v in one.get(kind, {}).items()} for one in (a, b)]
    if sizes[0] != sizes[1]:
        raise LotteryError(f"the two measures have scores for the {kind} of different models")
    if not sizes[0]:
        raise LotteryError(f"the two measures have no scores for {kind}")
    first, second = (
        torch.cat([one[kind][name].double().cpu() for name in a[kind]]).numpy() for one in (a, b)
    )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise LotteryError(f"the scores of the {kind} are not all finite")
    spearman, kendall = correlations(first, second)
    count = count_to_prune(0.5, len(first))
    ends = [set(one.argsort(kind="stable")[:count].tolist()) for one in (first, second)]
    return RankAgreement(
        components=len(first),
        spearman=spearman,
        kendall=kendall,
        lowest=count,
        overlap=len(ends[0] & ends[1]) / count,
        chance=count / len(first),
    )


def correlations(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return Spearman's rho and Kendall's tau-b; NaN if all values of an array are equal."""
    from scipy.stats import kendalltau, spearmanr

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan, math.nan
    return float(spearmanr(first, second)[0]), float(kendalltau(first, second)[0])
