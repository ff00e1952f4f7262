"""Tidy CSV files with one score, tested pair, density or overlap per row."""

from __future__ import annotations

from collections.abc import Sequence

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
#: further columns of runs with several data sets
_DATA_SET = "data maximise examples".split()


def results_csv(groups: Sequence[Group]) -> str:
    """Return a row for each run and metric, with everything that distinguishes rows."""
    has_components = any(group.rows != WEIGHTS for group in groups)
    names = _SCORE + (_DATA_SET if any(group.data_set for group in groups) else [])
    rows = (
        [group.title, *(getattr(score, name) for name in names)]
        + ([group.rows, *map((score.closed or {}).get, _COMPONENTS)] if has_components else [])
        for group in groups
        for table in group.tables.values()
        for _, score in sorted(table.items())
    )
    # "closed" is the name in results.csv of version 1
    header = ["rows", *(f"{kind} closed" for kind in _COMPONENTS)] if has_components else []
    return csv_text(["configuration", *names, *header], rows)


def comparisons_csv(comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """Return a row for each tested pair, with the title of its configuration."""
    head = "configuration test subset evaluation metric sparsity seed a b difference p adjusted_p"
    rows = (
        [title, c.test, c.evaluation.subset, c.evaluation.evaluation, c.evaluation.metric]
        + [c.sparsity, c.seed, c.a, c.b, round(c.difference, 6), c.p, c.adjusted, c.is_different]
        + [None if end is None else round(end, 6) for end in (c.low, c.high)]
        for title, c in comparisons
    )
    return csv_text([*head.split(), "different", "low", "high"], rows)


def densities_csv(groups: Sequence[tuple[Group, Masks]]) -> str:
    """Return a row for each matrix of each run, with the share that it keeps."""
    rows = (
        [group.title, *cell, matrix, round(density, 6)]
        for group, masks in groups
        for cell, kept in masks.densities.items()
        for matrix, density in kept.items()
    )
    return csv_text("configuration technique sparsity seed matrix density".split(), rows)


def overlaps_csv(groups: Sequence[tuple[Group, Masks]]) -> str:
    """Return a row for each pair of masks, with the Jaccard index and its chance value."""
    rows = (
        [group.title, pair.a[1], pair.a[0], pair.a[2], pair.b[0], pair.b[2]]
        + [round(value, 6) for value in (pair.jaccard, pair.chance, pair.above_chance)]
        for group, masks in groups
        for pair in masks.overlaps
    )
    head = "configuration sparsity technique_a seed_a technique_b seed_b overlap chance"
    return csv_text([*head.split(), "above_chance"], rows)
