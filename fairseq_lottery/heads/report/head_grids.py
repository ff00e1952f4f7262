"""Panels of heads: a row a layer, a column a head, the attention types side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fairseq_lottery.heads.components.anatomy import Anatomy, layer_of, type_of
from fairseq_lottery.report.plots.style import Size, colour_bar, fit_height, grid_of, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: module -> one value a head
Values = Mapping[str, Sequence[float]]

#: of a head's cell in inches
_LEAST, _MOST = 0.1, 0.32
#: of a plot in inches: it has to fit a page
_HIGHEST = 11.0
#: of the numbers in cells, as a share of the page's font
_SMALL = 0.7


def canvas(anatomy: Anatomy, values: Values) -> list[list[float]]:
    """Rows of layers from 0; between two types an empty column. NaN is where no head is."""
    firsts, width = _firsts(anatomy)
    layers = 1 + max(map(layer_of, anatomy.heads))
    rows = [[math.nan] * width for _ in range(layers)]
    for name, own in values.items():
        first = firsts[type_of(name)]
        rows[layer_of(name)][first : first + len(own)] = list(own)
    return rows


def head_grids(
    anatomy: Anatomy, panels: Mapping[str, Values], page: Size, label: str, numbers: bool = False
) -> Figure:
    """A panel a title, with one colour bar in percent.

    Args:
        panels: title -> module -> a value for each head; at most 1.
        label: of the colour bar.
        numbers: write the values into the cells where they have room.
    """
    from matplotlib import colormaps

    firsts, width = _firsts(anatomy)
    layers = 1 + max(map(layer_of, anatomy.heads))
    tick = 0.875 * page.font / 72
    inner = Size(page.width - 3 * page.line, page.font)
    room = 3.2 * 0.62 * _SMALL * page.font / 72  # of "100"
    names = max(0.62 * tick * (len(t) + 1) / (1 + _widths(anatomy)[t]) for t in firsts)
    titles = 0.6 * page.font / 72 * max(map(len, panels))
    narrowest = max(width * max(room if numbers else _LEAST, names), titles)
    rows, columns = grid_of(len(panels), narrowest, inner)
    highest = ((_HIGHEST - 5 * page.line) / rows - 1.8 * page.line) / layers
    cell = min(_MOST, inner.width / columns / width, max(highest, _LEAST / 2))
    height = rows * (layers * cell + 3 * page.line) + 5 * page.line
    figure = new_figure(page, min(height, _HIGHEST), square=True)
    engine: Any = figure.get_layout_engine()
    engine.set(wspace=0.12 if columns > 1 else 0)  # wider than between the types of a panel
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    least = min([0.0, *(min(own) for values in panels.values() for own in values.values())])
    colours = colormaps["cividis"].with_extremes(bad="white")
    image: Any = None
    for (title, values), axes in zip(panels.items(), grid.flat):
        cells = canvas(anatomy, values)
        image = axes.imshow(cells, vmin=least, vmax=1, cmap=colours, interpolation="none")
        axes.set_title(title)
        _label(axes, anatomy, firsts, range(0, layers, math.ceil(1.2 * tick / cell)))
        if numbers and cell >= room:
            _write(axes, cells, page)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
        axes.tick_params(labelbottom=True)
    figure.supylabel("layer", fontsize=page.font)
    bar = colour_bar(figure, image, grid, page)
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
    bar.set_label(label)
    return fit_height(figure)


def _widths(anatomy: Anatomy) -> dict[str, int]:
    """Type -> the most heads that a layer of it has."""
    widths: dict[str, int] = {}
    for name, heads in anatomy.heads.items():
        widths[type_of(name)] = max(heads, widths.get(type_of(name), 0))
    return widths


def _firsts(anatomy: Anatomy) -> tuple[dict[str, int], int]:
    """Type -> the column of its first head, and how many columns there are."""
    firsts, column = {}, 0
    for type_, heads in _widths(anatomy).items():
        firsts[type_] = column
        column += heads + 1
    return firsts, column - 1


def _label(axes: Axes, anatomy: Anatomy, firsts: Mapping[str, int], layers: range) -> None:
    widths = _widths(anatomy)
    middles = [first + (widths[type_] - 1) / 2 for type_, first in firsts.items()]
    axes.set_xticks(middles, [type_.replace("_", "-") for type_ in firsts])
    axes.set_yticks(layers, [str(layer) for layer in layers])
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, cells: Sequence[Sequence[float]], page: Size) -> None:
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if not math.isnan(value):
                colour = "white" if value < 0.5 else "black"
                size = _SMALL * page.font
                axes.text(
                    x, y, f"{100 * value:.0f}", color=colour, size=size, ha="center", va="center"
                )
