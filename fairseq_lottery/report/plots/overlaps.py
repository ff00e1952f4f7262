"""Plots of mask overlap: between techniques, and between seeds of one technique."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.report.plots.style import (
    GREY,
    Drawing,
    Size,
    colour_bar,
    draw,
    fit_height,
    grid_of,
    legend_outside,
    legend_rows,
    looks,
    new_figure,
    sparsity_axis,
)
from fairseq_lottery.report.reading.groups import Group
from fairseq_lottery.report.reading.mask_tables import Masks, Overlap
from fairseq_lottery.report.tables.score_tables import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def technique_overlaps(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """Overlap of every two techniques, a panel a sparsity; None where no two masks were found."""
    pairs = [pair for pair in masks.overlaps if pair.a[0] != pair.b[0]]
    if not pairs:
        return None
    return draw(
        group.file("overlap-techniques"),
        "Overlap of the weights that two techniques keep, a panel a sparsity, within a seed (the"
        " mean over seeds): 0 is what two independent masks of these densities share, 1 is the"
        " same mask; above chance means (Jaccard index - chance) / (1 - chance).",
        page,
        lambda size: _technique_figure(group, pairs, size),
    )


def _technique_figure(group: Group, pairs: list[Overlap], page: Size) -> Figure:
    from matplotlib import colormaps

    names = [n for n in group.techniques if any(n in (p.a[0], p.b[0]) for p in pairs)]
    titles = [group.title_of(name) for name in names]
    sparsities = [s for s in group.sparsities if any(p.a[1] == s for p in pairs)]
    label = 0.62 * 0.875 * page.font / 72 * max(map(len, titles))
    inner = Size(max(page.width - label, 1), page.font)
    cell = 0.875 * page.line
    rows, columns = grid_of(len(sparsities), len(names) * cell * 0.95, inner)
    panel = min(inner.width / columns, len(names) * 0.5)
    height = rows * (panel + 1.8 * page.line) + label + 4.5 * page.line
    figure = new_figure(page, height, square=True)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    image: Any = None
    for sparsity, axes in zip(sparsities, grid.flat):
        values = [[_between(pairs, sparsity, a, b) for b in names[:-1]] for a in names[1:]]
        for n, row in enumerate(values):
            row[n + 1 :] = [float("nan")] * len(row[n + 1 :])  # each pair once
        image = axes.imshow(values, vmin=0, vmax=1, cmap=colormaps["cividis"])
        axes.set_title(f"{percent(sparsity)} %")
        axes.set_xticks(range(len(names) - 1), titles[:-1], rotation=90)
        axes.set_yticks(range(len(names) - 1), titles[1:])
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    for axes in grid.flat[len(sparsities) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(sparsities) - columns) : len(sparsities)]:
        axes.tick_params(labelbottom=True)
    bar = colour_bar(figure, image, grid, page)
    bar.set_label("overlap above chance")
    return fit_height(figure)


def _between(pairs: Sequence[Overlap], sparsity: float, a: str, b: str) -> float:
    """The mean over seeds, NaN where there is none; a value below chance counts as such."""
    found = [p.above_chance for p in pairs if p.a[1] == sparsity and {p.a[0], p.b[0]} == {a, b}]
    return statistics.fmean(found) if found and a != b else float("nan")


def seed_overlaps(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """Overlap between the seeds of each technique by sparsity; None below two seeds."""
    pairs = [pair for pair in masks.overlaps if pair.a[2] != pair.b[2]]
    if not pairs:
        return None
    return draw(
        group.file("overlap-seeds"),
        "Overlap (Jaccard index) of the weights that two seeds of one technique keep, the mean"
        " over pairs of seeds; the dashed line is what independent masks of these densities"
        " share.",
        page,
        lambda size: _seed_figure(group, pairs, size),
    )


def _seed_figure(group: Group, pairs: list[Overlap], page: Size) -> Figure:
    names = [name for name in group.techniques if any(pair.a[0] == name for pair in pairs)]
    labels = ["chance", *map(group.title_of, names)]
    height = min(0.62 * page.width, 3.6) + (3 + legend_rows(labels, page)[1]) * page.line
    figure = new_figure(page, height)
    axes = figure.add_subplot()
    sparsities = sorted({pair.a[1] for pair in pairs})
    chances = [
        statistics.fmean(pair.chance for pair in pairs if pair.a[1] == s) for s in sparsities
    ]
    densities = [1 - sparsity for sparsity in sparsities]
    handles: list[Any] = axes.plot(densities, chances, color=GREY, linestyle="--")
    every = looks(group.techniques)
    for name in names:
        own = [pair for pair in pairs if pair.a[0] == name]
        at = sorted({pair.a[1] for pair in own})
        means = [statistics.fmean(p.found for p in own if p.a[1] == s) for s in at]
        look = every[name]
        handles += axes.plot(
            [1 - sparsity for sparsity in at],
            means,
            color=look.color,
            marker=look.marker,
            linestyle=look.linestyle,
            markeredgecolor="white",
        )
    axes.set_ylim(-0.02, 1.02)
    sparsity_axis(axes, sparsities, page, page.width - 5 * page.line)
    axes.set_xlabel("sparsity, %")
    axes.set_ylabel("overlap of two seeds")
    legend_outside(figure, handles, labels, page)
    return figure
