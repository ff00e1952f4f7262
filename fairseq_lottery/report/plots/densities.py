"""The plot of densities: which matrices keep how much, by technique and sparsity."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.report.plots.style import Drawing, Size, colour_bar, draw, grid_of, new_figure
from fairseq_lottery.report.reading.groups import Group
from fairseq_lottery.report.reading.mask_tables import Masks
from fairseq_lottery.report.tables.score_tables import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MATRIX = re.compile(
    r"^(enc|dec)oder\.layers\.(\d+)\.(?:(self|encoder)_attn\.(k|v|q|out)_proj|fc(\d))\.weight$"
)
_KINDS = ("k", "v", "q", "out")
#: above this, rows are labelled by layer and not one by one
_MOST_LABELS = 40
_DEAD = "#D55E00"


def place(name: str) -> tuple[tuple[int, int, int], str, str]:
    """Where a matrix stands in plots, the label of its layer and its own, by fairseq's name."""
    match = _MATRIX.match(name)
    if match is None:
        short = re.sub(r"\.weight$|_tokens", "", name)
        short = re.sub(r"^(enc|dec)oder\.", r"\1 ", short)
        layer = "embed" if "embed" in short or "output" in short else "other"
        return (0, 0, 0), layer, short
    side, layer, attention, part, fc = match.groups()
    kind = 20 + int(fc) if fc else 10 * (attention == "encoder") + _KINDS.index(part)
    own = f"fc{fc}" if fc else f"{'cross' if attention == 'encoder' else 'self'} {part}"
    order = (1 + (side == "dec"), int(layer), kind)
    return order, f"{side} {layer}", f"{side} {layer} {own}"


def density_map(group: Group, masks: Masks, page: Size) -> Optional[Drawing]:
    """The share of weights that each matrix keeps; None where no mask was found."""
    if not masks.densities:
        return None
    matrices = _matrices(masks)
    rows = "a row a matrix"
    if len(matrices) > _MOST_LABELS:
        rows += " (in each layer self-attention k, v, q, out, then cross-attention, fc1, fc2)"
    return draw(
        group.file("densities"),
        f"Density of each matrix: the share of its prunable weights that is kept, {rows}, a"
        " column a sparsity, the mean over seeds; grey where there is no mask.",
        page,
        lambda size: _density_figure(group, masks, matrices, size),
    )


def _matrices(masks: Masks) -> list[str]:
    found = {name for kept in masks.densities.values() for name in kept if name}
    return sorted(found, key=lambda name: (place(name)[0], name))


def _density_figure(group: Group, masks: Masks, matrices: list[str], page: Size) -> Figure:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FuncFormatter

    names = [n for n in group.techniques if any(n == cell[0] for cell in masks.densities)]
    sparsities = [s for s in group.sparsities if any(s == cell[1] for cell in masks.densities)]
    tick = 0.875 * page.font / 72
    each_row = len(matrices) <= _MOST_LABELS
    margin = tick * 0.62 * max(len(place(name)[2 if each_row else 1]) for name in matrices)
    inner = Size(max(page.width - margin, 1), page.font)
    together = "\u00a0=\u00a0"  # as in "t = 5%"
    wrapped = (group.title_of(n).replace(" = ", together).replace(" ", "\n") for n in names)
    titles = dict(zip(names, wrapped))
    longest = max(len(line) for title in titles.values() for line in title.split("\n"))
    narrowest = 0.62 * page.font / 72 * max(longest, 4)
    rows, columns = grid_of(len(names), narrowest, inner)
    panel = len(matrices) * (1.12 * tick if each_row else min(0.05, 6.5 / rows / len(matrices)))
    figure = new_figure(page, rows * (panel + 2.6 * page.line) + 4 * page.line)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    alive = [d for kept in masks.densities.values() for d in kept.values() if d > 0]
    least = min([*alive, 0.5])
    norm = LogNorm(least, 1)
    colours = colormaps["cividis"].with_extremes(under=_DEAD, bad="0.85")
    image: Any = None
    for name, axes in zip(names, grid.flat):
        values = [[_density(group, masks, name, s, m) for s in sparsities] for m in matrices]
        image = axes.imshow(values, aspect="auto", norm=norm, cmap=colours, interpolation="none")
        axes.set_title(titles[name])
        _label(axes, matrices, sparsities, each_row, page, inner.width / columns)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes in grid.flat[len(names) - columns if rows > 1 else 0 : len(names)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("sparsity, %", fontsize=page.font)
    dead = any(d == 0 for kept in masks.densities.values() for d in kept.values())
    bar = colour_bar(figure, image, grid, page)
    ticks = [d for d in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1) if d >= least * 0.999]
    bar.set_ticks(ticks, minor=False)
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.minorticks_off()
    bar.set_label("density" + (" (orange: nothing is kept)" if dead else ""))
    return figure


def _density(group: Group, masks: Masks, name: str, sparsity: float, matrix: str) -> float:
    """The mean over seeds, NaN where no mask has the matrix."""
    cells = [(name, sparsity, seed) for seed in group.seeds]
    found = [masks.densities.get(cell, {}).get(matrix) for cell in cells]
    kept = [density for density in found if density is not None]
    return statistics.fmean(kept) if kept else float("nan")


def _label(
    axes: Axes,
    matrices: list[str],
    sparsities: Sequence[float],
    each_row: bool,
    page: Size,
    width: float,
) -> None:
    places = [place(name) for name in matrices]
    firsts = [n for n, p in enumerate(places) if n == 0 or p[1] != places[n - 1][1]]
    if each_row:
        axes.set_yticks(range(len(matrices)), [own for _, _, own in places])
    else:
        ends = [*firsts[1:], len(matrices)]
        middles = [(first + end - 1) / 2 for first, end in zip(firsts, ends)]
        axes.set_yticks(middles, [places[first][1] for first in firsts])
        if firsts[1:2] == [1]:  # a single row is lower than its label, which goes above it
            for label in axes.get_yticklabels()[:1]:
                label.set_verticalalignment("bottom")
    for first in firsts[1:]:
        axes.axhline(first - 0.5, color="white", linewidth=0.06 * page.font)
    room = max(1, int(0.85 * width / page.line))  # upright labels stand side by side
    step = max(1, -(-len(sparsities) // room))
    chosen = sorted(range(len(sparsities) - 1, -1, -step))
    axes.set_xticks(chosen, [percent(sparsities[n]) for n in chosen], rotation=90)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
