"""Figures of probes: scores relative to the dense model's, by sparsity."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.curve_figures import axis_note, draw_curves
from fairseq_lottery.analysis.report.quantities import Quantity, Scene
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Drawing

PROBE = "probe"
#: statistics of probes that are scores
SCORES = ("accuracy", "span-f1", "pearson")
#: statistics that figures of a single command show
SHOWN = (*SCORES, "control", "selectivity", "percent-of-mean")


def probe_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield the figure of all tasks relative to the dense model, if there are probes.

    Args:
        quantities: all quantities of probes.
    """
    rows = [row for one in quantities if one.key[2] in SCORES for row in one.rows]
    relative = relative_rows(rows)
    if not relative:
        return
    first = quantities[0]
    whole = Quantity(
        (PROBE, "", "relative", "", ""),
        "score of probes, % above the dense model's",
        (None, None),
        "",
        relative,
        first.words,
    )
    caption = (
        f"{whole.about}: 100 (score - dense) / dense with the dense model of the same seed, the"
        " mean over layers, by sparsity, with a panel per task and a line per technique, mean and"
        f" standard deviation over seeds.{axis_note(scene)} Below 0 a layer holds less of a task"
        " that a linear probe can read."
    )
    yield draw_curves(whole, "by-sparsity", caption, scene)


def relative_rows(rows: Sequence[Row]) -> list[Row]:
    """Return scores relative to the dense model of the same seed, in percent; ``part`` is the task.

    A row per task, model and seed has the mean over layers of 100 (score - dense) / dense. Layers
    in which the dense model's score is not above 0, as Pearson's r can be, are left out.
    """
    rows = [row for row in rows if "sparsity" in row]
    pruned = [row for row in rows if row.get("technique", DENSE) != DENSE]
    dense = {_place(row): float(row["value"]) for row in rows if row.get("technique") == DENSE}
    values: dict[tuple[Any, ...], list[float]] = {}
    for row in pruned:
        reference = dense.get(_place(row), 0.0)
        if "layer" in row and reference > 0:
            model = tuple((name, row[name]) for name in ("technique", "sparsity", "seed"))
            share = 100 * (float(row["value"]) - reference) / reference
            values.setdefault((model, row["task"]), []).append(share)
    return [
        {"part": task, **dict(model), "value": statistics.fmean(own)}
        for (model, task), own in values.items()
    ]


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("task", "part", "layer", "statistic", "seed"))
