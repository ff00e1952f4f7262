"""Tidy files, one value a row: every score, every density, every overlap that was read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from fairseq_lottery.report.reading.groups import Group
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.plans import METRIC, ROWS, WEIGHTS
from fairseq_lottery.report.reading.records import Score

_COMPONENTS = [rows for rows in ROWS if rows not in (WEIGHTS, METRIC)]
_SCORE = (
    "technique sparsity seed subset evaluation checkpoint update beam lenpen metric score"
    " signature run pruned prunable denominator sentences training"
).split()


def results_csv(groups: Sequence[Group]) -> str:
    """One row per run and metric, tidy: one value a row, everything that tells rows apart."""
    closing = any(group.rows != WEIGHTS for group in groups)
    rows = (
        [group.title, *(getattr(score, name) for name in _SCORE)]
        + (_closed(group, score) if closing else [])
        for group in groups
        for table in group.tables.values()
        for _, score in sorted(table.items())
    )
    more = ["rows", *(f"{kind} closed" for kind in _COMPONENTS)] if closing else []
    return _csv(["configuration", *_SCORE, *more], rows)


def _closed(group: Group, score: Score) -> list[Any]:
    """What the sparsity is a share of, and the share of each kind that is closed."""
    return [group.rows, *((score.closed or {}).get(kind) for kind in _COMPONENTS)]


def densities_csv(found: Sequence[tuple[Group, Masks]]) -> str:
    """The share that each matrix keeps, one matrix of one run a row."""
    rows = (
        [group.title, *cell, matrix, round(density, 6)]
        for group, masks in found
        for cell, kept in masks.densities.items()
        for matrix, density in kept.items()
    )
    return _csv("configuration technique sparsity seed matrix density".split(), rows)


def overlaps_csv(found: Sequence[tuple[Group, Masks]]) -> str:
    """The Jaccard index of two masks' survivors and its chance value, one pair a row."""
    rows = (
        [group.title, pair.a[1], pair.a[0], pair.a[2], pair.b[0], pair.b[2]]
        + [round(value, 6) for value in (pair.found, pair.chance, pair.above_chance)]
        for group, masks in found
        for pair in masks.overlaps
    )
    head = "configuration sparsity technique_a seed_a technique_b seed_b overlap chance"
    return _csv([*head.split(), "above_chance"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
