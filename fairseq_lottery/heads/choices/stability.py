"""How far several choices, over seeds or data, keep the same components.

Each measure takes a table of bools with a row for each component and a column for each choice; True
is a kept component. Chance is defined differently: kappa and alpha compare with independent choices
of the mean size, Jaccard with random choices of exactly the given sizes.

Prasanna et al. 2020, section 4.2, for kappa, alpha and Q; the libraries are SciPy and statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.masks.streams import stream

Table = np.ndarray


@dataclass(frozen=True)
class Agreement:
    """Agreement of several choices; NaN where a measure is undefined.

    Attributes:
        components: number of components of the kind.
        sizes: number of components that each choice keeps.
        kappa, alpha: see ``fleiss_kappa`` and ``krippendorff_alpha``.
        q, q_p: Cochran's Q and its p-value, see ``cochrans_q``.
        jaccard: the mean over pairs, see ``mean_jaccard``.
        chance, jaccard_p: its mean by chance, and its p-value, see ``against_chance``.
        intersection: number of components that all choices keep, the super-survivors.
        union: number of components that any choice keeps.
    """

    components: int
    sizes: tuple[int, ...]
    kappa: float
    alpha: float
    q: float
    q_p: float
    jaccard: float
    chance: float
    jaccard_p: float
    intersection: int
    union: int


def agreement(
    choices: Sequence[ComponentMask],
    kind: str = "heads",
    types: Optional[tuple[str, ...]] = None,
    permutations: int = 1000,
) -> Agreement:
    """Return all measures for a kind of components and some types; see ``survival`` for errors."""
    table = survival(choices, kind, types)
    q, q_p = cochrans_q(table)
    chance, jaccard_p = against_chance(table, permutations)
    return Agreement(
        components=len(table),
        sizes=tuple(table.sum(axis=0).tolist()),
        kappa=fleiss_kappa(table),
        alpha=krippendorff_alpha(table),
        q=q,
        q_p=q_p,
        jaccard=mean_jaccard(table),
        chance=chance,
        jaccard_p=jaccard_p,
        intersection=int(table.all(axis=1).sum()),
        union=int(table.any(axis=1).sum()),
    )


def survival(
    choices: Sequence[ComponentMask], kind: str = "heads", types: Optional[tuple[str, ...]] = None
) -> Table:
    """Return the table of components (in the anatomy's order, then by number) by choices.

    Args:
        types: the types that the choices were made over. All choices keep the components of other
            types, so they would agree there by construction.

    Raises:
        LotteryError: fewer than two choices, choices for different models, or a kind or type that
            the model does not have.
    """
    if len(choices) < 2:
        raise LotteryError(f"agreement needs at least two choices, not {len(choices)}")
    if any(one.anatomy != choices[0].anatomy for one in choices):
        raise LotteryError("the choices of heads and units are of different models")
    names = choices[0].anatomy.modules(kind, types)
    columns = [np.concatenate([one[kind][n].numpy() for n in names]) for one in choices]
    return np.stack(columns, axis=1)


def fleiss_kappa(table: Table) -> float:
    """Return Fleiss' kappa (1971) of components in two categories, kept and pruned.

    1 is full agreement, 0 the agreement of independent choices of the mean size. NaN if all choices
    keep everything or nothing.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    if table.all() or not table.any():
        return math.nan
    kept = table.sum(axis=1)
    return float(kappa(np.stack([kept, table.shape[1] - kept], axis=1)))


def krippendorff_alpha(table: Table) -> float:
    """Return Krippendorff's alpha (2011) of nominal data without missing values.

    It is 1 - observed / expected disagreement. Observed is the share of differing pairs of choices
    at one component, expected that of all pairs of two values in the table; leaving out pairs of a
    value with itself is the difference from kappa. NaN if the table has one value only.
    """
    components, choices = table.shape
    kept = table.sum(axis=1)
    total, values = int(table.sum()), table.size
    expected = 2 * total * (values - total) / (values * (values - 1))
    if not expected:
        return math.nan
    observed = float((2 * kept * (choices - kept)).sum()) / (components * choices * (choices - 1))
    return 1 - observed / expected


def cochrans_q(table: Table) -> tuple[float, float]:
    """Return Cochran's Q (1950) and its p-value, by chi-square of choices - 1 degrees of freedom.

    It tests whether the choices keep equally many components, not the same ones: choices of one
    size without a common component pass it. It is here because papers report it for heads. Use
    kappa, alpha or Jaccard for agreement. NaN if all choices are equal.
    """
    from statsmodels.stats.contingency_tables import cochrans_q as test

    if (table == table[:, :1]).all():
        return math.nan, math.nan
    result: Any = test(table)
    return float(result.statistic), float(result.pvalue)


def mean_jaccard(table: Table) -> float:
    """Return the mean over all pairs of choices of |A and B| / |A or B|, A and B being kept sets.

    Two choices that keep nothing count as equal, 1.
    """
    choices = table.T.astype(np.float64)
    shared = choices @ choices.T
    sizes = shared.diagonal()
    first, second = np.triu_indices(len(choices), 1)
    both = shared[first, second]
    either = sizes[first] + sizes[second] - both
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


def against_chance(table: Table, permutations: int = 1000, seed: int = 1) -> tuple[float, float]:
    """Return the mean Jaccard index by chance, and the p-value of the index of ``table``.

    A permutation test: each choice keeps random components, as many as before, independently of the
    others. p is (1 + permutations with at least the index of ``table``) / (1 + permutations), so
    never 0 (Phipson & Smyth 2010). It is one-sided: it tests for more agreement than by chance.
    """
    observed, total, as_high = mean_jaccard(table), 0.0, 0
    numbers = stream(f"permutation|{seed}")
    for _ in range(permutations):
        value = mean_jaccard(random_choices(table.sum(axis=0), len(table), numbers))
        total += value
        as_high += value >= observed - 1e-12  # equal sets, summed in another order
    return total / permutations, (1 + as_high) / (1 + permutations)


def random_choices(sizes: Table, components: int, numbers: np.random.Philox) -> Table:
    """Return a table of random choices of some sizes, independent of each other.

    Args:
        numbers: a stream, which the table advances.
    """
    choices = len(sizes)
    raw = np.asarray(numbers.random_raw(choices * components)).reshape(choices, components)
    shuffled = np.zeros((components, choices))
    for choice, order in enumerate(raw.argsort(axis=1, kind="stable")):
        shuffled[order[: sizes[choice]], choice] = 1
    return shuffled
