"""The table of searches that stop at a share of the metric: what it is then, and what is left.

Some close heads and FFN blocks (s-pruning), some prune single weights (m-pruning).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_lottery.heads.components.anatomy import KINDS
from fairseq_lottery.report.reading.groups import Evaluation, Group
from fairseq_lottery.report.reading.plans import METRIC, WEIGHTS
from fairseq_lottery.report.reading.records import DENSE, Score
from fairseq_lottery.report.reading.row_words import WORDS
from fairseq_lottery.report.tables.score_tables import (
    LOWER_IS_BETTER,
    MISSING,
    Table,
    cell_text,
    decimals,
    deviation,
    missing,
    percent,
    row_label,
    rows_of,
    signed,
    spread_text,
)

#: kind -> what the column of its share is called
_LEFT = {**{kind: WORDS[kind].by for kind in KINDS}, WEIGHTS: "weights left"}


def search_table(group: Group, key: Evaluation) -> Optional[Table]:
    """One metric of every search, a row a technique and share, and what it leaves open.

    None for groups whose shares are of something else than the metric.
    """
    if group.rows != METRIC:
        return None
    table = group.tables[key]
    cells = {cell: group.values(key, *cell) for cell in rows_of(group)}
    most = max(map(len, cells.values()))
    digits = decimals(table.values())
    shares = [pair for score in table.values() for pair in (score.closed or {}).items()]
    closes = {kind for kind, share in shares if share or kind == WEIGHTS}
    kinds = [kind for kind in _LEFT if kind in closes] or ["heads", "blocks"]
    rows, data = [], []
    for (technique, share), values in cells.items():
        found = _scores(group, key, technique, share)
        left = [_left(found, kind) for kind in kinds]
        title, label = group.title_of(technique), row_label(group, share)
        text = [MISSING if one is None else percent(round(one, 3)) for one in left]
        rows.append([title, label, cell_text(values, most, digits), *text])
        numbers: list[Any] = [statistics.fmean(values) if values else None, deviation(values)]
        kept = share if share else 1.0
        data.append([technique, kept, *numbers, len(values), *left])
    left_names = [_LEFT[kind] for kind in kinds]
    notes = [
        f"{signed(group, key)}.",
        "A search closes parts, or prunes weights, while this share of the full model's metric is"
        " kept; what is left is found, not asked for, and stands as the mean over seeds.",
    ]
    if key.metric in LOWER_IS_BETTER:
        notes.append("Less is better.")
    if group.planned - set(table) or not all(cells.values()):
        notes.append(missing(group, key))
    return Table(
        slug=group.file(key.slug),
        caption=f"{key.metric} on {key.subset} of searches ({key.evaluation}):"
        f" {spread_text(most)}.",
        header=["technique", group.words.axis, key.metric, *(f"{name}, %" for name in left_names)],
        rows=rows,
        notes=notes,
        data=(["technique", group.words.column, "mean", "sd", "seeds", *left_names], data),
    )


def _scores(group: Group, key: Evaluation, technique: str, share: float) -> list[Score]:
    found = (group.tables[key].get((technique, share, seed)) for seed in group.seeds)
    return [score for score in found if score is not None]


def _left(scores: Sequence[Score], kind: str) -> Optional[float]:
    """The mean share that stays open; None where no score says what is closed."""
    every = [{kind: 0.0} if each.technique == DENSE else each.closed or {} for each in scores]
    closed = [shares[kind] for shares in every if kind in shares]
    return 1 - statistics.fmean(closed) if closed else None
