"""Plots with a line per technique: a metric by share, and a validation metric by update."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.records.cells import DENSE, Curve
from fairseq_lottery.records.plan import METRIC, WEIGHTS
from fairseq_lottery.report.plots.drawings import (
    GREY,
    Drawing,
    Size,
    draw,
    legend_outside,
    limits,
    looks,
    panels_of,
    share_axis,
)
from fairseq_lottery.report.plots.ranked_values import ranked_values
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.reading.recipe_groups import Group
from fairseq_lottery.report.reading.table_words import Cell, Evaluation, percent, slug
from fairseq_lottery.report.tables.score_tables import deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: validation metric -> label of its axis
LEARNING = {"loss": "validation loss", "bleu": "validation BLEU"}
#: technique -> its shares, each with values whose mean is drawn
Lines = Mapping[str, Sequence[tuple[float, Sequence[float]]]]


def sparsity_curves(group: Group, key: Evaluation, page: Size) -> Optional[Drawing]:
    """Plot a metric by share, with a line per technique; a single share has no axis.

    Returns:
        None for searches, or if only the dense model has scores.
    """
    if group.rows == METRIC:
        return None
    logarithmic = group.rows == WEIGHTS
    shares = [s for s in group.sparsities if s < 1 or not logarithmic]
    lines = {
        name: line
        for name in group.techniques
        if (line := [(s, values) for s in shares if (values := group.values(key, name, s))])
    }
    if not lines:
        return None
    dense = group.values(key, DENSE, 0.0)
    spread = deviation(dense) or 0.0

    def dense_line(axes: Axes) -> Any:
        middle = statistics.fmean(dense)
        axes.axhspan(middle - spread, middle + spread, color=GREY, alpha=0.15, linewidth=0)
        return axes.axhline(middle, color=GREY, linestyle="--")

    reference = ("dense", dense_line) if dense else None
    cells = [values for line in lines.values() for _, values in line]
    cells += [dense] if dense else []
    ends = [(statistics.fmean(values), deviation(values) or 0.0) for values in cells]
    y_limits = limits([end for mean, sd in ends for end in (mean - sd, mean + sd)])
    most = max(len(values) for line in lines.values() for _, values in line)
    bars = f"mean and standard deviation over {most} seeds" if most > 1 else "one seed"
    by, axis = group.words.by, "logarithmic in the density" if logarithmic else "linear"
    name = group.file(f"{key.slug}-by-{slug(by)}")
    found = {share for line in lines.values() for share, _ in line}
    if len(found) == 1:
        (share,) = found
        return draw(
            name,
            f"{key.metric} on {key.subset} at {group.label_of(share)} % {group.words.column}"
            f" ({key.words}; {bars}), best first.",
            page,
            lambda size: ranked_values(
                group, {name: line[0][1] for name, line in lines.items()},
                ("dense", dense) if dense else None, key.metric, size,
                lowest_first=key.lower_is_better,
            ),
        )  # fmt: skip
    return draw(
        name,
        f"{key.metric} on {key.subset} by {by} ({key.words}; {bars}). The axis is {axis}; the"
        " dashed line is the dense model.",
        page,
        lambda size: _share_figure(group, lines, size, key.metric, y_limits, reference),
    )


def seed_overlaps(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """Plot the overlap of seeds of each technique by sparsity; None for a single seed."""
    pairs = [pair for pair in masks.overlaps if pair.a[2] != pair.b[2]]
    if not pairs:
        return None
    overlaps: dict[str, dict[float, list[float]]] = {}
    chances: dict[float, list[float]] = {}
    above_chance: dict[str, list[float]] = {}
    for pair in pairs:
        name, share, _ = pair.a
        above_chance.setdefault(name, []).append(pair.above_chance)
        overlaps.setdefault(name, {}).setdefault(share, []).append(pair.jaccard)
        chances.setdefault(share, []).append(pair.chance)
    lines = {
        name: [(s, [statistics.fmean(values)]) for s, values in sorted(overlaps[name].items())]
        for name in group.techniques
        if name in overlaps
    }

    def chance_line(axes: Axes) -> Any:
        means = [(1 - s, statistics.fmean(values)) for s, values in sorted(chances.items())]
        return axes.plot(*zip(*means), color=GREY, linestyle="--", marker="_")[0]

    reference, label = ("chance", chance_line), "overlap of two seeds"
    if len(chances) == 1:
        (share,) = chances
        return draw(
            group.file("overlap-seeds"),
            "Overlap above chance of the weights that two seeds of one technique keep at"
            f" {group.label_of(share)} % {group.words.column}: (Jaccard index - chance) /"
            " (1 - chance), mean and standard deviation over pairs of seeds. Chance (0) is the"
            " overlap of independent masks of these densities.",
            page,
            lambda size: ranked_values(
                group, {name: above_chance[name] for name in lines}, ("chance", [0.0]),
                f"{label}, above chance", size,
            ),
        )  # fmt: skip
    return draw(
        group.file("overlap-seeds"),
        "Overlap (Jaccard index) of the weights that two seeds of one technique keep, the mean"
        " over pairs of seeds; the dashed line is the overlap of independent masks of these"
        " densities.",
        page,
        lambda size: _share_figure(group, lines, size, label, (-0.02, 1.02), reference),
    )


def _share_figure(
    group: Group,
    lines: Lines,
    page: Size,
    label: str,
    y_limits: tuple[float, float],
    reference: Optional[tuple[str, Callable[[Axes], Any]]],
) -> Figure:
    """Return a figure with the lines, and below them a reference (label, and drawing function)."""
    labels = [*([reference[0]] if reference else []), *map(group.title_of, lines)]
    height = min(0.62 * page.width, 3.6) + (3 + page.legend_of(labels)[0]) * page.line
    figure = page.new_figure(height)
    axes = figure.add_subplot()
    handles = [reference[1](axes)] if reference else []
    styles = looks(group.techniques)
    for name, line in lines.items():
        # NaN draws no bar; if no cell has a bar, the legend must not show one
        spreads = [deviation(values) or math.nan for _, values in line]
        handles.append(
            axes.errorbar(
                [1 - share for share, _ in line],
                [statistics.fmean(values) for _, values in line],
                yerr=None if all(map(math.isnan, spreads)) else spreads,
                markeredgecolor="white",
                elinewidth=0.09 * page.font,
                capsize=0.15 * page.font,
                **styles[name],
            )
        )
    shares = {share for line in lines.values() for share, _ in line}
    share_axis(axes, shares, page, logarithmic=group.rows == WEIGHTS)
    axes.set_xlabel(group.words.axis)
    axes.set_ylim(y_limits)
    axes.set_ylabel(label)
    legend_outside(figure, handles, labels, page)
    return figure


def learning_curves(group: Group, metric: str, page: Size) -> Optional[Drawing]:
    """Plot a validation metric by update, with a panel per share; None if no run has it."""
    curves = {
        cell: finite
        for cell, points in group.curves.get(("valid", metric), {}).items()
        if (finite := [point for point in points if math.isfinite(point.value)])
    }
    if not curves:
        return None
    cut = " The axis omits the start, where the loss is much higher."
    return draw(
        group.file(f"learning-{metric}"),
        f"V{LEARNING[metric][1:]} by update, with a panel per {group.words.share} and a line per"
        f" seed; the grey lines are the dense model's training.{cut if metric != 'bleu' else ''}",
        page,
        lambda size: _learning_figure(group, metric, curves, size),
    )


def _learning_figure(
    group: Group, metric: str, curves: Mapping[Cell, Sequence[Curve]], page: Size
) -> Figure:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, MaxNLocator

    sparsities = [s for s in group.sparsities if any(s == cell[1] for cell in curves)] or [0.0]
    names = [name for name in (DENSE, *group.techniques) if any(name == c[0] for c in curves)]
    styles = {n: {**look, "marker": ""} for n, look in looks(group.techniques).items()}
    styles[DENSE] = {"color": "0.6"}
    rows, columns = page.grid_of(len(sparsities), 8.5 * page.line)
    labels = [group.title_of(name) for name in names]
    panel = min((0.75 if columns > 1 else 0.5) * page.width / columns, 2.6) + page.line
    height = rows * panel + (4 + page.legend_of(labels)[0]) * page.line
    figure = page.new_figure(height)
    panels, _ = panels_of(figure, len(sparsities), rows, columns)
    for sparsity, axes in zip(sparsities, panels):
        for name in names:
            for cell, points in curves.items():
                if cell[:2] in ((name, sparsity), (name, 0.0)):
                    values = [point.value for point in points]
                    updates = [point.update for point in points]
                    axes.plot(updates, values, linewidth=0.1 * page.font, **styles[name])
        axes.set_title(f"{percent(sparsity)} %" if sparsity else "dense")
    panels[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].xaxis.set_major_locator(MaxNLocator(3))
    start = 0.0 if metric == "bleu" else 0.25  # share of a training with a much higher loss
    late = [p.value for c in curves.values() for p in c if p.update >= start * c[-1].update]
    panels[0].set_ylim(limits(late))
    figure.supxlabel("update", fontsize=page.font)
    figure.supylabel(LEARNING[metric], fontsize=page.font)
    handles = [Line2D([], [], **styles[name]) for name in names]
    legend_outside(figure, handles, labels, page, side="upper")  # "update" is below
    return figure
