"""How importance changes along a search, and how far searches of several seeds agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.measures.rank_agreement import correlations
from fairseq_lottery.heads.searches.importance_file import StepImportance


@dataclass(frozen=True)
class StepAgreement:
    """Agreement of estimates at one step; NaN where a correlation is undefined.

    Attributes:
        step: number of the step, from 1, which is the full model.
        kept: number of components that each model keeps.
        components: number of components that are compared, the mean over pairs of searches.
        spearman, kendall: see ``RankAgreement``; the mean over pairs for which it is defined.
    """

    step: int
    kept: tuple[int, ...]
    components: float
    spearman: float
    kendall: float


def evolution(estimates: Sequence[StepImportance], kind: str = "heads") -> list[StepAgreement]:
    """Compare each step of a search with its first one, over the components that the step keeps.

    Raises:
        LotteryError: the search has no scores of this kind.
    """
    _refuse_other(estimates, kind)
    return [
        _agreement(number, [estimate], [(estimates[0], estimate)], kind)
        for number, estimate in enumerate(estimates, 1)
    ]


def agreement_by_step(
    searches: Sequence[Sequence[StepImportance]], kind: str = "heads"
) -> list[StepAgreement]:
    """Compare searches with each other at each step that all have.

    A pair of searches is compared over the components that both keep.

    Raises:
        LotteryError: fewer than two searches, of different models, or without this kind.
    """
    if len(searches) < 2:
        raise LotteryError(f"agreement needs at least two searches, not {len(searches)}")
    _refuse_other([estimate for search in searches for estimate in search], kind)
    return [
        _agreement(number, step, list(combinations(step, 2)), kind)
        for number, step in enumerate(zip(*searches), 1)
    ]


def _refuse_other(estimates: Sequence[StepImportance], kind: str) -> None:
    anatomy = estimates[0].components.anatomy
    modules = set(anatomy.modules(kind))
    for estimate in estimates:
        if estimate.components.anatomy != anatomy:
            raise LotteryError("the searches are of different models")
        if set(estimate.scores.get(kind, {})) != modules:
            raise LotteryError(f"the searches have no importance of all {kind}")


def _agreement(
    number: int,
    step: Sequence[StepImportance],
    pairs: Sequence[tuple[StepImportance, StepImportance]],
    kind: str,
) -> StepAgreement:
    kept = [_flat(estimate.components[kind]) for estimate in step]
    sizes, spearman, kendall = [], [], []
    for first, second in pairs:
        both = _flat(first.components[kind]) & _flat(second.components[kind])
        order = first.components[kind]
        scores = [
            _flat({name: one.scores[kind][name] for name in order})[both] for one in (first, second)
        ]
        sizes.append(int(both.sum()))
        rho, tau = correlations(*scores)
        spearman += [] if math.isnan(rho) else [rho]
        kendall += [] if math.isnan(tau) else [tau]
    return StepAgreement(
        step=number,
        kept=tuple(int(one.sum()) for one in kept),
        components=float(np.mean(sizes)),
        spearman=float(np.mean(spearman)) if spearman else math.nan,
        kendall=float(np.mean(kendall)) if kendall else math.nan,
    )


def _flat(modules: object) -> np.ndarray:
    return torch.cat(list(modules.values())).numpy()  # type: ignore[attr-defined]
