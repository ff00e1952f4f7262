"""Tidy files, one value a row: every score, tested pair, density and overlap that was read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairseq_lottery.records.cells import Score
from fairseq_lottery.records.plan import METRIC, ROWS, WEIGHTS
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.statistics.significance import Comparison
from fairseq_lottery.report.tables.table_formats import csv_text

_COMPONENTS = [rows for rows in ROWS if rows not in (WEIGHTS, METRIC)]
_SCORE = (
    "technique sparsity seed subset evaluation checkpoint update beam lenpen metric score"
    " signature run pruned prunable denominator sentences training"
).split()


def results_csv(groups: Sequence[Group]) -> str:
    """One row per run and metric, with everything that tells rows apart."""
    closing = any(group.rows != WEIGHTS for group in groups)
    rows = (
        [group.title, *(getattr(score, name) for name in _SCORE)]
        + (_closed(group, score) if closing else [])
        for group in groups
        for table in group.tables.values()
        for _, score in sorted(table.items())
    )
    more = ["rows", *(f"{kind} closed" for kind in _COMPONENTS)] if closing else []
    return csv_text(["configuration", *_SCORE, *more], rows)


def _closed(group: Group, score: Score) -> list[Any]:
    """What the sparsity is a share of, and the share of each kind that is closed."""
    return [group.rows, *((score.closed or {}).get(kind) for kind in _COMPONENTS)]


def comparisons_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """Every pair that was tested, one a row, with the title of its configuration."""
    head = "configuration test subset evaluation metric sparsity seed a b difference p adjusted_p"
    rows = (
        [title, c.test, c.evaluation.subset, c.evaluation.evaluation, c.evaluation.metric]
        + [c.sparsity, c.seed, c.a, c.b, round(c.difference, 6), c.p, c.adjusted, c.found]
        + [None if end is None else round(end, 6) for end in (c.low, c.high)]
        for title, c in comparisons
    )
    return csv_text([*head.split(), "different", "low", "high"], rows)


def densities_csv(found: Sequence[tuple[Group, Masks]]) -> str:
    """The share that each matrix keeps, one matrix of one run a row."""
    rows = (
        [group.title, *cell, matrix, round(density, 6)]
        for group, masks in found
        for cell, kept in masks.densities.items()
        for matrix, density in kept.items()
    )
    return csv_text("configuration technique sparsity seed matrix density".split(), rows)


def overlaps_csv(found: Sequence[tuple[Group, Masks]]) -> str:
    """The Jaccard index of two masks' survivors and its chance value, one pair a row."""
    rows = (
        [group.title, pair.a[1], pair.a[0], pair.a[2], pair.b[0], pair.b[2]]
        + [round(value, 6) for value in (pair.found, pair.chance, pair.above_chance)]
        for group, masks in found
        for pair in masks.overlaps
    )
    head = "configuration sparsity technique_a seed_a technique_b seed_b overlap chance"
    return csv_text([*head.split(), "above_chance"], rows)
