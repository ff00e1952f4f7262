"""Heat maps: panels of one shape, with numbers if they fit, else with a colour bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.report.plots.drawings import CHARACTER, Size, panels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: rows of shares; NaN marks missing values
Cells = Sequence[Sequence[float]]
#: position -> label
Ticks = Mapping[float, str]

#: minimum and maximum size of a cell in inches
_LEAST, _MOST = 0.1, 0.4
#: maximum height of a plot in inches, to fit a page
_HIGHEST = 11.0
#: font size of numbers in cells, as a share of the page's
_SMALL = 0.75
#: colour of shares of 0 on a logarithmic scale
_NOTHING = "#D55E00"
#: width of numbers in characters
_LETTERS = 3.2


@dataclass(frozen=True)
class Differences:
    """Style of panels of differences: red is below 0, blue above, and cells may have frames.

    Attributes:
        framed: whether each cell of each panel has a frame.
        letters: width of the longest text of a cell in characters.
    """

    framed: Sequence[Sequence[Sequence[bool]]]
    letters: float = _LETTERS


def heat_maps(
    panels: Sequence[tuple[str, Cells]],
    columns: Ticks,
    rows: Ticks,
    page: Size,
    label: str,
    *,
    row_height: Optional[float] = None,
    low: float = 0.0,
    high: float = 1.0,
    in_percent: bool = True,
    logarithmic: bool = False,
    empty: str = "white",
    lines: Sequence[float] = (),
    is_spaced: bool = False,
    has_numbers: bool = True,
    has_edges: bool = False,
    names: tuple[str, str] = ("", ""),
    texts: Sequence[Sequence[Sequence[str]]] = (),
    differences: Optional[Differences] = None,
) -> Figure:
    """Return a figure of panels of one shape and one scale.

    Args:
        panels: titles (lines separated by newlines), with rows of shares up to 1.
        columns, rows: labels of the axes.
        label: name of the shares.
        row_height: height in inches; by default cells are about square.
        low, high: ends of the scale; with ``logarithmic``, shares below ``low`` are 0, in orange.
        in_percent: whether numbers are shares, written in percent.
        empty: colour of NaN.
        lines: positions of lines between rows.
        is_spaced: whether panels are far apart, as they have empty columns inside.
        has_numbers: whether cells have numbers where they fit.
        has_edges: whether white lines divide the cells.
        names: what columns and rows are, below and beside the panels.
        texts: texts of the cells of each panel, instead of numbers.
        differences: style of differences; then cells of NaN always have their texts.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    upright = _is_upright(columns, len(panels[0][1][0]))
    inner = Size(page.width - (1.3 * page.line if names[1] else 0.0), page.font)
    letters = differences.letters if differences else _LETTERS
    down, beside, height, numbers = _layout(
        panels, columns, rows, inner, row_height, has_numbers, letters
    )
    figure = page.new_figure(height + (1.3 * page.line if names[0] else 0.0))
    if names[0]:
        figure.supxlabel(names[0], fontsize=page.font)
    if names[1]:
        figure.supylabel(names[1], fontsize=page.font)
    axes, grid = panels_of(figure, len(panels), down, beside)
    if is_spaced:
        figure.get_layout_engine().set(w_pad=1.2 * page.line)  # type: ignore[union-attr, call-arg]
    norm: Any = LogNorm(low, high) if logarithmic else Normalize(low, high)
    colours = colormaps["RdBu" if differences else "cividis"].with_extremes(bad=empty)
    if logarithmic:
        colours = colours.with_extremes(under=_NOTHING, bad=empty)
    image: Any = None
    text_of = _percent_text if in_percent else value_text
    for number, ((title, cells), panel) in enumerate(zip(panels, axes)):
        # rectangles, not an image, which some viewers of PDF and SVG blur
        edges = ([n - 0.5 for n in range(length + 1)] for length in (len(cells[0]), len(cells)))
        # a logarithmic scale would take a share of 0 as missing
        shares = [[low / 2 if logarithmic and c == 0 else c for c in row] for row in cells]
        image = panel.pcolormesh(
            *edges, shares, norm=norm, cmap=colours, edgecolors="white" if differences else "face",
            zorder=0,
        )  # fmt: skip
        panel.set_ylim(len(cells) - 0.5, -0.5)
        panel.set_title(title)
        panel.set_xticks([*columns], [*columns.values()], rotation=90 if upright else 0)
        panel.set_yticks([*rows], [*rows.values()])
        panel.grid(False)
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        if has_edges:
            panel.set_xticks([n - 0.5 for n in range(1, len(cells[0]))], minor=True)
            panel.set_yticks([n - 0.5 for n in range(1, len(cells))], minor=True)
            panel.grid(True, which="minor", axis="both", color="white", linewidth=0.06 * page.font)
            panel.tick_params(which="minor", length=0)
        for line in lines:
            panel.axhline(line, color="white", linewidth=0.06 * page.font)
        own = texts[number] if texts else [[*map(text_of, row)] for row in cells]
        if numbers:
            _write(panel, cells, own, norm, _SMALL * page.font, differences is not None)
        if differences:
            _write_beside(panel, cells, own, _SMALL * page.font)
            _frame(panel, differences.framed[number], 0.12 * page.font)
    if numbers:
        figure.suptitle(label, x=0.01, ha="left", fontsize=page.font)
        return figure
    bar = figure.colorbar(image, ax=grid, location="top", aspect=40, pad=page.line / height)
    bar.set_label(label)
    if logarithmic:
        steps = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
        ticks = [share for share in steps if low * 0.999 <= share <= high * 1.001]
        bar.set_ticks(ticks, minor=False)
        bar.minorticks_off()
    factor = 100 if in_percent else 1
    bar.ax.xaxis.set_major_formatter(lambda share, _: f"{factor * share:.6g}")
    return figure


def _layout(
    panels: Sequence[tuple[str, Cells]],
    columns: Ticks,
    rows: Ticks,
    page: Size,
    row_height: Optional[float],
    has_numbers: bool,
    letters: float,
) -> tuple[int, int, float, bool]:
    """Return rows and columns of panels, the height in inches, and whether numbers fit."""
    deep, wide = len(panels[0][1]), len(panels[0][1][0])
    lengths = [_width_of(text) for text in columns.values()]
    labels, foot = page.character * (sum(lengths) + len(lengths)), 0.0
    if _is_upright(columns, wide):
        labels, foot = 0.9 * page.line * wide, page.character * max(lengths)
    side = page.character * max(map(_width_of, rows.values())) + 2 * page.line
    inner = Size(max(page.width - side, 1), page.font)
    titles = [title.split("\n") for title, _ in panels]
    heading = (1.25 * max(map(len, titles)) + 0.05) * page.line
    title_width = CHARACTER * page.font / 72 * (1 + max(len(t) for lines in titles for t in lines))
    space = _HIGHEST - 5 * page.line - foot
    number_width, number_height = letters * CHARACTER * _SMALL * page.font / 72, _SMALL * page.line
    for least in (number_width, _LEAST) if has_numbers else (_LEAST,):
        narrowest = max(wide * least, title_width, labels)
        down, beside = inner.grid_of(len(panels), narrowest)
        if down * (deep * (row_height or number_height) + heading) <= space:
            break
    if down == 1:  # few small panels do not fill the width of the page
        beside = max(beside, int(inner.width / max(wide * _MOST, narrowest)))
    width = inner.width / beside / wide
    high = min(row_height or min(width, _MOST), (space / down - heading) / deep)
    numbers = has_numbers and width >= number_width and high >= number_height
    bar = 5 * page.line if not numbers else 2.5 * page.line
    return down, beside, bar + foot + down * (deep * high + heading), numbers


def _width_of(text: str) -> int:
    return max(map(len, text.split("\n")))


def _is_upright(columns: Ticks, count: int) -> bool:
    """Return whether labels are vertical: each has one column, and not all are short."""
    return len(columns) == count and max(map(len, columns.values())) > 2


def _write(
    axes: Axes,
    cells: Cells,
    texts: Sequence[Sequence[str]],
    norm: Any,
    font: float,
    are_differences: bool,
) -> None:
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if not math.isnan(value):
                is_dark = abs(norm(value) - 0.5) > 0.3 if are_differences else norm(value) < 0.5
                colour = "white" if is_dark else "black"
                text = axes.text(x, y, texts[y][x], color=colour, size=font)
                text.set(ha="center", va="center", in_layout=False)  # it is inside its axes


def _write_beside(axes: Axes, cells: Cells, texts: Sequence[Sequence[str]], font: float) -> None:
    """Write the texts of cells of NaN, which may be wider than their column."""
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if math.isnan(value) and texts[y][x]:
                axes.text(x, y, texts[y][x], size=font, ha="center", va="center")


def _frame(axes: Axes, framed: Sequence[Sequence[bool]], width: float) -> None:
    from matplotlib.patches import Rectangle

    for y, row in enumerate(framed):
        for x, has_frame in enumerate(row):
            if has_frame:
                place = (x - 0.44, y - 0.42)
                axes.add_patch(
                    Rectangle(place, 0.88, 0.84, fill=False, edgecolor="black", linewidth=width)
                )


def _percent_text(share: float) -> str:
    if math.isnan(share):
        return ""
    if 0 < share < 0.0005:
        return "<.1"
    return f"{round(100 * share, 0 if abs(share) >= 0.0995 else 1) + 0.0:g}"


def value_text(value: float) -> str:
    """Return a number in at most four characters where it fits, as ``.93``, ``-.10``, ``2.4``."""
    if math.isnan(value):
        return ""
    if abs(value) < 0.005:
        return "0"
    if abs(value) < 0.995:
        return f"{'-' if value < 0 else ''}{abs(value):.2f}".replace("0.", ".", 1)
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:.0f}"
