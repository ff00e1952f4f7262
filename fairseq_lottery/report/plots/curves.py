"""Plots of a metric by sparsity or by what is left, and of a metric by update."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.report.plots.style import (
    GREY,
    Drawing,
    Look,
    Size,
    closed_axis,
    draw,
    grid_of,
    legend_outside,
    legend_rows,
    looks,
    new_figure,
    sparsity_axis,
)
from fairseq_lottery.report.reading.groups import Evaluation, Group, slug
from fairseq_lottery.report.reading.plans import METRIC, WEIGHTS
from fairseq_lottery.report.reading.records import DENSE, Curve
from fairseq_lottery.report.tables.score_tables import deviation, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: validation metric -> what its axis is called
LEARNING = {"loss": "validation loss", "bleu": "validation BLEU"}


def sparsity_curves(group: Group, key: Evaluation, page: Size) -> Optional[Drawing]:
    """The metric by sparsity, a line a technique; None where only the dense model has scores.

    Shares of the metric are no axis: what a search closes for one is not known before.
    """
    if group.rows == METRIC:
        return None
    logarithmic = group.rows == WEIGHTS  # of the density, which has no end; heads end at none
    drawn = [s for s in group.sparsities if s < 1 or not logarithmic]
    points = {
        name: [(s, v) for s in drawn if (v := group.values(key, name, s))]
        for name in group.techniques
    }
    points = {name: found for name, found in points.items() if found}
    if not points:
        return None
    most = max(len(values) for found in points.values() for _, values in found)
    bars = f"mean and standard deviation over {most} seeds" if most > 1 else "one seed"
    by, axis = group.words.by, "logarithmic in the density" if logarithmic else "linear"
    return draw(
        group.file(f"{key.slug}-by-{slug(by)}"),
        f"{key.metric} on {key.subset} by {by} ({key.evaluation}; {bars}). The axis is {axis};"
        " the dashed line is the dense model.",
        page,
        lambda size: _sparsity_figure(group, key, points, size),
    )


def _sparsity_figure(
    group: Group, key: Evaluation, points: dict[str, list[tuple[float, list[float]]]], page: Size
) -> Figure:
    dense = group.values(key, DENSE, 0.0)
    labels = [*(["dense"] if dense else []), *map(group.title_of, points)]
    _, rows = legend_rows(labels, page)
    height = min(0.62 * page.width, 3.6) + 3 * page.line
    figure = new_figure(page, height + rows * page.line)
    axes = figure.add_subplot()
    handles: list[Any] = []
    if dense:
        handles.append(axes.axhline(statistics.fmean(dense), color=GREY, linestyle="--"))
        spread = deviation(dense)
        if spread is not None:
            middle = statistics.fmean(dense)
            axes.axhspan(middle - spread, middle + spread, color=GREY, alpha=0.15, linewidth=0)
    every = looks(group.techniques)
    for name, found in points.items():
        handles.append(_line(axes, found, every[name], page))
    sparsities = {sparsity for found in points.values() for sparsity, _ in found}
    share_axis = sparsity_axis if group.rows == WEIGHTS else closed_axis
    share_axis(axes, sparsities, page, page.width - 5 * page.line)
    axes.set_xlabel(group.words.axis)
    axes.set_ylabel(key.metric)
    legend_outside(figure, handles, labels, page)
    return figure


def _line(axes: Axes, found: list[tuple[float, list[float]]], look: Look, page: Size) -> Any:
    # NaN draws no bar; where no cell has one, the legend shows none either
    spreads = [deviation(values) or math.nan for _, values in found]
    return axes.errorbar(
        [1 - sparsity for sparsity, _ in found],
        [statistics.fmean(values) for _, values in found],
        yerr=None if all(map(math.isnan, spreads)) else spreads,
        color=look.color,
        marker=look.marker,
        linestyle=look.linestyle,
        markeredgecolor="white",
        elinewidth=0.09 * page.font,
        capsize=0.15 * page.font,
        capthick=0.09 * page.font,
    )


def learning_curves(group: Group, metric: str, page: Size) -> Optional[Drawing]:
    """A validation metric by update, a panel a sparsity; None where no run has it."""
    curves = {
        cell: [point for point in points if math.isfinite(point.value)]
        for cell, points in group.curves.get(("valid", metric), {}).items()
    }
    curves = {cell: points for cell, points in curves.items() if points}
    if not curves:
        return None
    falls = metric != "bleu"
    cut = " The axis leaves out the start, where the loss is far higher." if falls else ""
    return draw(
        group.file(f"learning-{metric}"),
        f"V{LEARNING[metric][1:]} by update, a panel a {group.words.share}, a line a seed; the grey"
        f" lines are the dense model's training.{cut}",
        page,
        lambda size: _learning_figure(group, metric, curves, size),
    )


def _learning_figure(
    group: Group, metric: str, curves: dict[tuple[str, float, int], list[Curve]], page: Size
) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, MaxNLocator

    sparsities = [s for s in group.sparsities if any(s == cell[1] for cell in curves)] or [0.0]
    dense = {cell: points for cell, points in curves.items() if cell[0] == DENSE}
    names = [name for name in group.techniques if any(name == cell[0] for cell in curves)]
    rows, columns = grid_of(len(sparsities), 8.5 * page.line, page)
    labels = [*(["dense"] if dense else []), *map(group.title_of, names)]
    panel = min((0.75 if columns > 1 else 0.5) * page.width / columns, 2.6) + page.line
    height = rows * panel + (4 + legend_rows(labels, page)[1]) * page.line
    figure = new_figure(page, height)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    every = looks(group.techniques)
    for sparsity, axes in zip(sparsities, grid.flat):
        for points in dense.values():
            axes.plot(*_xy(points), color="0.6", linewidth=0.1 * page.font)
        for name in names:
            for cell, points in curves.items():
                if cell[:2] == (name, sparsity):
                    look = every[name]
                    style = {"color": look.color, "linestyle": look.linestyle}
                    axes.plot(*_xy(points), linewidth=0.1 * page.font, **style)
        axes.set_title(f"{percent(sparsity)} %" if sparsity else "dense")
    for axes in grid.flat[len(sparsities) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(sparsities) - columns) : len(sparsities)]:
        axes.tick_params(labelbottom=True)
    grid[0, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(3))
    if metric != "bleu":
        grid[0, 0].set_ylim(*_limits(list(curves.values())))
    figure.supxlabel("update", fontsize=page.font)
    figure.supylabel(LEARNING[metric], fontsize=page.font)
    handles = [Line2D([], [], color="0.6")] if dense else []
    handles += [Line2D([], [], color=every[n].color, linestyle=every[n].linestyle) for n in names]
    legend_outside(figure, handles, labels, page, side="upper")  # "update" is below
    return figure


def _xy(points: Sequence[Curve]) -> tuple[list[int], list[float]]:
    return [point.update for point in points], [point.value for point in points]


def _limits(curves: Sequence[Sequence[Curve]]) -> tuple[float, float]:
    """From the lowest value to the highest after a quarter of each training, and a margin."""
    late = [p.value for points in curves for p in points if p.update >= 0.25 * points[-1].update]
    low, high = min(late), max(late)
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin
