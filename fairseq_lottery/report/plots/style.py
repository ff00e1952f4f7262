"""How plots look: sizes for paper columns, one look per technique, PDF, SVG and PNG of each."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairseq_lottery.errors import LotteryError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")
PNG_DPI = 300
#: Okabe and Ito (2008), which all common kinds of colour vision tell apart; its yellow is left
#: out, for it is too faint for a line on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
GREY = "0.45"

_CM, _PT = 1 / 2.54, 1 / 72


@dataclass(frozen=True)
class Size:
    """Width in inches and size of the text in points."""

    width: float
    font: float

    @property
    def line(self) -> float:
        """The height of a line of text in inches."""
        return 1.25 * self.font * _PT


@dataclass(frozen=True)
class Look:
    """A technique's colour, marker and line, the same in every plot of a report."""

    color: str
    marker: str
    linestyle: Any


@dataclass(frozen=True)
class Drawing:
    """A finished plot: what it shows, and its bytes by format."""

    slug: str
    caption: str
    width: float
    files: dict[str, bytes]


def size(width: str, font: float) -> Size:
    """Read a width such as ``8cm`` or ``3.15in``; refuses what no page has."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(cm|in)\s*", width)
    if match is None:
        raise LotteryError(f"--width {width!r} is no width; write it like 8cm or 3.15in")
    inches = float(match.group(1)) * (_CM if match.group(2) == "cm" else 1)
    if not 2 <= inches <= 40:
        raise LotteryError(f"--width {width} is not between 5.1 cm (2 in) and 101.6 cm (40 in)")
    if not 4 <= font <= 30:
        raise LotteryError(f"--font-size {font:g} is not between 4 and 30 points")
    return Size(inches, font)


def looks(techniques: Iterable[str]) -> dict[str, Look]:
    """A look for each technique; no two share colour and marker up to 77 of them."""
    return {
        name: Look(COLOURS[n % 7], MARKERS[n % 11], LINES[n % 5])
        for n, name in enumerate(techniques)
    }


def settings(page: Size) -> AbstractContextManager[None]:
    """Matplotlib's settings while a plot is drawn and saved; they are put back afterwards."""
    import matplotlib

    font = page.font
    return matplotlib.rc_context(
        {
            "font.size": font,
            "axes.labelsize": font,
            "axes.titlesize": font,
            "xtick.labelsize": 0.875 * font,
            "ytick.labelsize": 0.875 * font,
            "legend.fontsize": 0.875 * font,
            "axes.linewidth": 0.06 * font,
            "lines.linewidth": 0.14 * font,
            "lines.markersize": 0.5 * font,
            "lines.markeredgewidth": 0.06 * font,
            "xtick.major.width": 0.06 * font,
            "ytick.major.width": 0.06 * font,
            "xtick.minor.width": 0.05 * font,
            "xtick.major.size": 0.35 * font,
            "ytick.major.size": 0.35 * font,
            "xtick.minor.size": 0.2 * font,
            "xtick.major.pad": 0.3 * font,
            "ytick.major.pad": 0.3 * font,
            "axes.labelpad": 0.35 * font,
            "axes.titlepad": 0.4 * font,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": "0.9",
            "grid.linewidth": 0.06 * font,
            "legend.frameon": False,
            "legend.handlelength": 2.4,
            "legend.columnspacing": 1.2,
            "legend.handletextpad": 0.5,
            "legend.labelspacing": 0.3,
            "figure.constrained_layout.h_pad": 0.04,
            "figure.constrained_layout.w_pad": 0.04,
            "pdf.fonttype": 42,
            "svg.fonttype": "path",
            "svg.hashsalt": "fairseq_lottery",
        }
    )


def draw(slug: str, caption: str, page: Size, paint: Callable[[Size], Figure]) -> Drawing:
    """Paint a plot and save it in every format; the same plot gives the same bytes."""
    undated: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
        "png": {},
    }
    files = {}
    with settings(page):
        figure = paint(page)
        for format_ in FORMATS:
            out = io.BytesIO()
            figure.savefig(out, format=format_, dpi=PNG_DPI, metadata=undated[format_])
            files[format_] = out.getvalue()
    return Drawing(slug, caption, page.width, files)


def new_figure(page: Size, height: float, square: bool = False) -> Figure:
    """An empty figure of the page's width; ``height`` in inches, ``square`` for square cells."""
    from matplotlib.figure import Figure

    layout: Any = "compressed" if square else "constrained"
    return Figure(figsize=(page.width, height), layout=layout)


def colour_bar(figure: Figure, image: Any, axes: Any, page: Size) -> Colorbar:
    """A colour bar over all ``axes``, a line of text high."""
    share = page.line / figure.get_figheight()
    bar = figure.colorbar(image, ax=axes, location="top", fraction=share, pad=share, aspect=28)
    bar.ax.set_box_aspect(0.035)
    return bar


def fit_height(figure: Figure) -> Figure:
    """Take away the height that panels of square cells leave empty."""
    figure.draw_without_rendering()
    figure.set_figheight(figure.get_tightbbox().height + 0.1)
    return figure


def legend_rows(labels: list[str], page: Size) -> tuple[int, int]:
    """Columns and rows of a legend under a plot, wide enough for its longest label."""
    longest = max(map(len, labels))
    entry = (0.5 * 0.875 * longest + 3.8) * page.font * _PT
    columns = max(1, min(len(labels), int(page.width / entry)))
    rows = -(-len(labels) // columns)
    return -(-len(labels) // rows), rows


def legend_outside(
    figure: Figure, handles: list[Any], labels: list[str], page: Size, side: str = "lower"
) -> None:
    """A legend under (or over: ``upper``) the plots, where it covers nothing."""
    columns, _ = legend_rows(labels, page)
    place: Any = f"outside {side} center"
    figure.legend(handles, labels, loc=place, ncols=columns)


def grid_of(count: int, narrowest: float, page: Size) -> tuple[int, int]:
    """Rows and columns of ``count`` panels that are at least ``narrowest`` inches wide."""
    columns = max(1, min(count, int(page.width / narrowest)))
    rows = -(-count // columns)
    return rows, -(-count // rows)


def sparsity_axis(axes: Axes, sparsities: Iterable[float], page: Size, width: float) -> None:
    """A logarithmic axis of density, rising sparsity to the right, ticks labelled in percent.

    ``width`` is about how wide the axis is, in inches: labels that would touch are left out,
    their ticks stay.
    """
    import math

    from fairseq_lottery.report.tables.score_tables import percent

    densities = sorted(1 - sparsity for sparsity in set(sparsities) if sparsity < 1)
    low, high = densities[0] / 1.12, min(densities[-1] * 1.12, 1.06)
    axes.set_xlim(high, low)  # first: a single point has no limits of its own on a log scale
    axes.set_xscale("log")
    shown: list[float] = []
    inches = width / math.log(high / low)
    label = 0.62 * page.font * _PT
    for density in densities:  # the sparse end is where techniques differ: it comes first
        wide = label * (len(percent(1 - density)) + 0.8)
        if not shown or abs(math.log(density / shown[-1])) * inches > wide:
            shown.append(density)
    axes.set_xticks(shown, [percent(1 - density) for density in shown])
    axes.set_xticks([d for d in densities if d not in shown], minor=True)
    axes.xaxis.set_minor_formatter("")


def closed_axis(axes: Axes, shares: Iterable[float], page: Size, width: float) -> None:
    """A linear axis of what is left, what is closed rising to the right, labelled in percent.

    ``width`` is about how wide the axis is, in inches: labels that would touch are left out,
    their ticks stay.
    """
    from fairseq_lottery.report.tables.score_tables import percent

    left = sorted(1 - share for share in set(shares))
    margin = 0.04 * (left[-1] - left[0]) or 0.04
    axes.set_xlim(left[-1] + margin, left[0] - margin)
    inches = width / (left[-1] - left[0] + 2 * margin)
    shown: list[float] = []
    for one in left:
        wide = 0.62 * page.font * _PT * (len(percent(1 - one)) + 0.8)
        if not shown or (one - shown[-1]) * inches > wide:
            shown.append(one)
    axes.set_xticks(shown, [percent(1 - one) for one in shown])
    axes.set_xticks([one for one in left if one not in shown], minor=True)
