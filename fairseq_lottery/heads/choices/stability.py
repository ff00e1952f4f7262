"""Whether several searches, over seeds or data, keep the same parts.

Every measure takes a table of bools: a row for each part, a column for each search; True is a
part that is open. What is compared with chance differs: kappa and alpha with independent choices
of the mean size, Jaccard with choices by chance of exactly the sizes that there are.

Prasanna et al. 2020, section 4.2, for kappa, alpha and Q; the libraries are SciPy and statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.masks.streams import stream

Table = np.ndarray


@dataclass(frozen=True)
class Agreement:
    """Agreement of several searches; NaN where a measure has no value.

    Attributes:
        parts: how many there are of the kind.
        sizes: how many of them each search keeps.
        kappa, alpha: see ``fleiss_kappa`` and ``krippendorff_alpha``.
        q, q_p: Cochran's Q and its p-value, see ``cochrans_q``.
        jaccard: the mean over pairs, see ``mean_jaccard``.
        chance, jaccard_p: its mean by chance, and how probable it is, see ``against_chance``.
        intersection: parts that all keep, the super-survivors.
        union: parts that any keeps.
    """

    parts: int
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
    choices: Sequence[Parts],
    kind: str = "heads",
    types: Optional[tuple[str, ...]] = None,
    permutations: int = 1000,
) -> Agreement:
    """Return all measures of one kind of parts, of some types; see ``survival`` for errors."""
    table = survival(choices, kind, types)
    q, q_p = cochrans_q(table)
    chance, jaccard_p = against_chance(table, permutations)
    return Agreement(
        parts=len(table),
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
    choices: Sequence[Parts], kind: str = "heads", types: Optional[tuple[str, ...]] = None
) -> Table:
    """Return the table of parts (in the anatomy's order, then by number) by choices.

    Args:
        types: those that were ruled over; what no choice ruled over is open in all, so choices
            would agree by construction.

    Raises:
        LotteryError: fewer than two choices, of different models, or without such parts or types.
    """
    if len(choices) < 2:
        raise LotteryError(f"agreement needs at least two choices, and there is {len(choices)}")
    if any(one.anatomy != choices[0].anatomy for one in choices):
        raise LotteryError("the choices of heads and units are of different models")
    names = choices[0].anatomy.modules(kind, types)
    columns = [np.concatenate([one[kind][n].numpy() for n in names]) for one in choices]
    return np.stack(columns, axis=1)


def fleiss_kappa(table: Table) -> float:
    """Fleiss' kappa (1971) of parts by two categories, open and closed.

    1 is full agreement, 0 what independent choices of the mean size give. NaN where all of them
    keep all, or nothing: nothing is left to agree on.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa as kappa

    if table.all() or not table.any():
        return math.nan
    kept = table.sum(axis=1)
    return float(kappa(np.stack([kept, table.shape[1] - kept], axis=1)))


def krippendorff_alpha(table: Table) -> float:
    """Krippendorff's alpha (2011) of nominal data with nothing missing.

    1 - observed / expected disagreement. The observed is the share of differing pairs of choices
    at one part, the expected that of all pairs of values in the table, each without itself; that
    is what it corrects kappa by. NaN where the table has one value only.
    """
    parts, choices = table.shape
    kept = table.sum(axis=1)
    opened, values = int(table.sum()), table.size
    expected = 2 * opened * (values - opened) / (values * (values - 1))
    if not expected:
        return math.nan
    observed = float((2 * kept * (choices - kept)).sum()) / (parts * choices * (choices - 1))
    return 1 - observed / expected


def cochrans_q(table: Table) -> tuple[float, float]:
    """Cochran's Q (1950) and its p-value, by chi-square of choices - 1 degrees of freedom.

    It tests whether the choices keep equal numbers of parts, not whether these are the same parts:
    choices without any part in common pass it if they are of one size. It is here because it is
    published for heads; for agreement read kappa, alpha or Jaccard. NaN where all choices are
    equal, which leaves nothing to test.
    """
    from statsmodels.stats.contingency_tables import cochrans_q as test

    if (table == table[:, :1]).all():
        return math.nan, math.nan
    found: Any = test(table)
    return float(found.statistic), float(found.pvalue)


def mean_jaccard(table: Table) -> float:
    """|A and B| / |A or B| of what two choices keep, the mean over all pairs.

    Two choices that keep nothing count as the same, 1.
    """
    choices = table.T.astype(np.float64)
    shared = choices @ choices.T
    sizes = shared.diagonal()
    first, second = np.triu_indices(len(choices), 1)
    both = shared[first, second]
    either = sizes[first] + sizes[second] - both
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).mean())


def against_chance(table: Table, permutations: int = 1000, seed: int = 1) -> tuple[float, float]:
    """Return the mean Jaccard index by chance, and the p-value of that of ``table``.

    A permutation test: each choice keeps any parts, exactly as many as it has, independent of the
    others. p is (1 + permutations with at least the index found) / (1 + permutations), so never 0
    (Phipson & Smyth 2010), and one-sided: it asks for more agreement than chance.
    """
    parts, choices = table.shape
    sizes = table.sum(axis=0)
    found, total, as_high = mean_jaccard(table), 0.0, 0
    numbers = stream(f"permutation|{seed}")
    for _ in range(permutations):
        raw = np.asarray(numbers.random_raw(choices * parts)).reshape(choices, parts)
        shuffled = np.zeros((parts, choices))
        for choice, order in enumerate(raw.argsort(axis=1, kind="stable")):
            shuffled[order[: sizes[choice]], choice] = 1
        value = mean_jaccard(shuffled)
        total += value
        as_high += value >= found - 1e-12  # the same sets, summed in another order
    return total / permutations, (1 + as_high) / (1 + permutations)
