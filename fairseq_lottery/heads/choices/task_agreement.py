"""How far choices of several tasks agree, within each task over seeds and between tasks.

Prasanna et al. 2020, section 4.2, compare the heads that survive on different tasks of one
pre-trained model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Optional

import numpy as np

from fairseq_lottery.heads.choices.stability import (
    Agreement,
    Table,
    agreement,
    random_choices,
    survival,
)
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.masks.streams import stream


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of the choices of two tasks.

    Attributes:
        first, second: names of the tasks.
        jaccard: the mean of |A and B| / |A or B| over a choice A of one task and B of the other.
        chance, jaccard_p: its mean by chance, and its p-value, see ``between_tasks``.
        shared: number of components that all choices of both tasks keep.
    """

    first: str
    second: str
    jaccard: float
    chance: float
    jaccard_p: float
    shared: int


@dataclass(frozen=True)
class TaskAgreement:
    """Agreement of choices of several tasks.

    Attributes:
        within: task -> agreement of its choices; tasks with one choice have none.
        between: agreement of each two tasks.
    """

    within: Mapping[str, Agreement]
    between: Sequence[PairAgreement]


def task_agreement(
    choices: Mapping[str, Sequence[ComponentMask]],
    kind: str = "heads",
    types: Optional[tuple[str, ...]] = None,
    permutations: int = 1000,
) -> TaskAgreement:
    """Return the agreement within and between tasks; see ``survival`` for errors.

    Args:
        choices: task -> its choices, of several seeds.
    """
    table = survival([one for own in choices.values() for one in own], kind, types)
    ends = np.cumsum([len(own) for own in choices.values()])
    tables = dict(zip(choices, np.split(table, ends[:-1], axis=1)))
    within = {
        task: agreement(own, kind, types, permutations)
        for task, own in choices.items()
        if len(own) > 1
    }
    between = [
        between_tasks(a, b, tables[a], tables[b], permutations) for a, b in combinations(choices, 2)
    ]
    return TaskAgreement(within, between)


def between_tasks(
    first: str, second: str, a: Table, b: Table, permutations: int = 1000
) -> PairAgreement:
    """Return the agreement of two tables of components by choices.

    By chance, each choice keeps random components, as many as before. p is the share of such draws
    with at least the index of the tables, one-sided and never 0, as in ``against_chance``.
    """
    observed, total, as_high = _mean_jaccard(a, b), 0.0, 0
    numbers = stream(f"permutation-between|{first}|{second}")
    both = np.concatenate([a, b], axis=1)
    for _ in range(permutations):
        shuffled = random_choices(both.sum(axis=0), len(both), numbers)
        value = _mean_jaccard(*np.split(shuffled, [a.shape[1]], axis=1))
        total += value
        as_high += value >= observed - 1e-12  # equal sets, summed in another order
    shared = int(both.all(axis=1).sum())
    p = (1 + as_high) / (1 + permutations)
    return PairAgreement(first, second, observed, total / permutations, p, shared)


def _mean_jaccard(a: Table, b: Table) -> float:
    """Return the mean index over a column of each table; two choices that keep nothing have 1."""
    first, second = a.T.astype(np.float64), b.T.astype(np.float64)
    shared = first @ second.T
    either = first.sum(axis=1)[:, None] + second.sum(axis=1)[None] - shared
    return float(np.where(either > 0, shared / np.maximum(either, 1), 1.0).mean())
