"""Compare the roles of heads: before and after, survivors and all heads, several seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.roles.role_labels import Head, RoleLabels
from fairseq_lottery.errors import LotteryError


def change_rows(before: RoleLabels, after: RoleLabels) -> Iterator[Row]:
    """Yield which heads ``gained``, ``kept`` and ``lost`` each role; a row a head, value 1.

    A head that is pruned afterwards has ``lost`` its roles.

    Raises:
        LotteryError: the tables have no role in common.
    """
    common = [role for role in before.roles if role in after.roles]
    if not common:
        raise LotteryError("the models have no tested role in common; test both for the same roles")
    for role in common:
        old, new = before.roles[role][1], after.roles[role][1]
        for name, heads in (("gained", new - old), ("kept", new & old), ("lost", old - new)):
            for kind, layer, head in sorted(heads):
                row: Row = {"part": kind, "layer": layer, "head": head, "role": role}
                yield {**row, "statistic": name, "value": 1}


def survivor_rows(labels: RoleLabels, survivors: frozenset[Head]) -> Iterator[Row]:
    """Yield the share of the survivors with each role, and that of all heads.

    Statistics: ``all-heads`` and ``survivors``, shares of heads with the role among those tested;
    and ``p``, of Fisher's exact two-sided test whether survival depends on the role. Prasanna et
    al. 2020, section 5, compare such shares of patterns without a test.

    Args:
        survivors: the heads that are kept.
    """
    from scipy.stats import fisher_exact

    for role in labels.roles:
        for kind in labels.kinds_of(role):
            tested, having = labels.of_kind(role, kind)
            kept = tested & survivors
            row: Row = {"part": kind, "role": role}
            yield {**row, "statistic": "all-heads", "value": len(having) / len(tested)}
            if not kept:
                continue
            yield {**row, "statistic": "survivors", "value": len(having & kept) / len(kept)}
            table = [
                [len(having & kept), len(kept - having)],
                [len(having - kept), len(tested - kept - having)],
            ]
            yield {**row, "statistic": "p", "value": float(fisher_exact(table)[1])}


def agreement_rows(labels: Sequence[RoleLabels]) -> Iterator[Row]:
    """Yield how far several models agree on the roles of heads.

    Statistics of a head: ``models``, the share of models in which it has the role. Statistics of a
    role and kind, over heads that are tested in all models: ``same``, the share of heads on which
    all models agree; ``jaccard``, heads with the role in all models of those with it in any;
    ``kappa``, Fleiss' kappa; and ``layers``, which does not depend on the order of heads in a
    layer: over layers, the sum of the smallest counts of heads with the role, divided by the sum of
    the largest. ``jaccard``, ``layers`` and ``kappa`` are missing where they are undefined.

    Heads of trainings from different start weights have no common numbers: only ``layers`` compares
    those.
    """
    for role in labels[0].roles:
        for kind in labels[0].kinds_of(role):
            pairs = [one.of_kind(role, kind) for one in labels]
            heads = sorted(frozenset.intersection(*(tested for tested, _ in pairs)))
            if not heads:
                continue
            table = np.array([[head in having for _, having in pairs] for head in heads])
            row: Row = {"part": kind, "role": role}
            for (_, layer, head), share in zip(heads, table.mean(axis=1).tolist()):
                yield {**row, "layer": layer, "head": head, "statistic": "models", "value": share}
            layers = np.array([layer for _, layer, _ in heads])
            for name, value in _agreement(table, layers).items():
                if math.isfinite(value):
                    yield {**row, "statistic": name, "value": value}


def _agreement(table: np.ndarray[Any, Any], layers: np.ndarray[Any, Any]) -> dict[str, float]:
    """Return the statistics of ``agreement_rows``; NaN where one is undefined.

    Args:
        table: bool (heads, models).
        layers: layer of each head.
    """
    from statsmodels.stats.inter_rater import fleiss_kappa

    having, models = table.sum(axis=1), table.shape[1]
    counts = np.stack([table[layers == one].sum(axis=0) for one in np.unique(layers)])
    any_role = int((having > 0).sum())
    kappa = math.nan
    if 0 < having.sum() < table.size:
        kappa = float(fleiss_kappa(np.stack([having, models - having], axis=1)))
    largest = float(counts.max(axis=1).sum())
    return {
        "same": float(np.mean((having == 0) | (having == models))),
        "jaccard": int((having == models).sum()) / any_role if any_role else math.nan,
        "layers": float(counts.min(axis=1).sum()) / largest if largest else math.nan,
        "kappa": kappa,
    }
