"""Tables of the training behind each cell: its updates, and its floating-point operations."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Optional

from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.records.training_cost import updates_behind
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.tables.table_formats import MISSING, Table


def updates_table(group: Group) -> Optional[Table]:
    """Return a table of the training updates behind each cell; None if they are unknown.

    They come from the stages in ``plan.json``, which plans of early versions do not have.
    """
    updates = {
        cell: count
        for cell, (folder, training) in group.trainings.items()
        if (count := sum(updates_behind(group.stages[folder], training).values()))
    }
    names = [n for n in group.techniques if any(n == cell[0] for cell in updates)]
    if not names:
        return None
    rows = []
    for share in (0.0, *group.sparsities):
        row = [group.label_of(share)]
        for name in names:
            has_own = share or any((name, share, seed) in updates for seed in group.seeds)
            cells = [(name if has_own else DENSE, share, seed) for seed in group.seeds]
            counts = {updates[cell] for cell in cells if cell in updates}
            row.append(" to ".join(f"{n:,}" for n in sorted(counts)) or MISSING)
        rows.append(row)
    return Table(
        slug=group.file("updates"),
        caption="Updates of training behind each cell.",
        header=[group.words.axis, *map(group.title_of, names)],
        rows=rows,
        notes=[
            "All trainings that a cell depends on count: the dense model if masks or weights come"
            " from it, every earlier round, and the cell's own training. A training of which only"
            " a snapshot is used counts up to the snapshot.",
            "More updates than those of the dense model alone may raise a score.",
        ],
    )


def relative_costs(group: Group, technique: str, share: float) -> list[tuple[float, float]]:
    """Return the operations behind one cell of a table, one pair for each seed.

    A pair has those of the dense model, and those that remain if pruned weights take none. Both are
    multiples of the operations of the dense model's own training: with the same seed, or the mean
    over its seeds. If none was counted, as of an adopted run of plain fairseq, they are estimated
    from the cell's own operations per update.
    """
    dense = {seed: cost.flops for (name, _, seed), cost in group.costs.items() if name == DENSE}
    mean = statistics.fmean(dense.values()) if dense else 0.0
    pairs = []
    for seed in group.seeds:
        cost = group.costs.get((technique, share, seed))
        if cost is None or not cost.updates:
            continue
        updates = group.recipe.get("updates")
        estimate = cost.flops / cost.updates * updates if type(updates) is int else 0.0
        unit = dense.get(seed) or mean or estimate
        if unit:
            pairs.append((cost.flops / unit, cost.sparse_flops / unit))
    return pairs


def flops_table(group: Group) -> Optional[Table]:
    """Return a table of the operations of the trainings behind each cell; None if unknown."""
    names = [
        name
        for name in group.techniques
        if any(relative_costs(group, name, share) for share in (0.0, *group.sparsities))
    ]
    if not names:
        return None
    rows, data = [], []
    for share in (0.0, *group.sparsities):
        cells = [relative_costs(group, name, share) for name in names]
        if not share:
            cells = [pairs or relative_costs(group, DENSE, share) for pairs in cells]
        rows.append([group.label_of(share), *map(_cost_text, cells)])
        data.append([share, *(entry for pairs in cells for entry in _means(pairs))])
    parts = ("operations", "sparse operations")
    return Table(
        slug=group.file("operations"),
        caption="Floating-point operations of the trainings behind each cell, as multiples of the"
        " dense model's training: counted as dense, and as if pruned weights took none.",
        header=[group.words.axis, *map(group.title_of, names)],
        rows=rows,
        notes=[
            "The same trainings count as for the updates. Matrix products of forward and backward"
            " passes are counted, not those of scores before the first update; dense hardware takes"
            " the first number.",
        ],
        data=([group.words.column, *(f"{n} {part}" for n in names for part in parts)], data),
    )


def _means(pairs: Sequence[tuple[float, float]]) -> list[Optional[float]]:
    """Return the means of both numbers; None without pairs."""
    return [statistics.fmean(values) for values in zip(*pairs)] or [None, None]


def _cost_text(pairs: Sequence[tuple[float, float]]) -> str:
    return " / ".join(f"{mean:.2f}" for mean in _means(pairs)) if pairs else MISSING
