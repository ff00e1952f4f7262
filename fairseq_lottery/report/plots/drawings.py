"""Sizes and styles of plots, and their PDF, SVG and PNG files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report.reading.table_words import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_DPI = 300
#: format -> metadata without the creation date, so that equal plots have equal bytes
_UNDATED: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}
FORMATS = tuple(_UNDATED)
#: colours for all common kinds of colour vision (Okabe and Ito 2008), without yellow, which is too
#: faint for lines on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
GREY = "0.45"
#: width of a character as a share of the font size
CHARACTER = 0.62

_CM, _PT = 1 / 2.54, 1 / 72
#: settings of Matplotlib, as shares of the font size
_OF_FONT = {
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 1.0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 0.875),
    **dict.fromkeys(("axes.linewidth", "grid.linewidth", "lines.markeredgewidth"), 0.06),
    **dict.fromkeys(("xtick.major.width", "ytick.major.width", "xtick.minor.width"), 0.06),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "axes.labelpad"), 0.35),
    **dict.fromkeys(("xtick.major.pad", "ytick.major.pad", "axes.titlepad"), 0.35),
    "xtick.minor.size": 0.2,
    "lines.linewidth": 0.14,
    "lines.markersize": 0.5,
}
_FIXED = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "legend.columnspacing": 1.2,
    "legend.handlelength": 2.4,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "fairseq_lottery",
}


@dataclass(frozen=True)
class Size:
    """The width of a page in inches and its font size in points."""

    width: float
    font: float

    @property
    def line(self) -> float:
        """Height of a line of text in inches."""
        return 1.25 * self.font * _PT

    @property
    def character(self) -> float:
        """Width of a character of a tick label in inches."""
        return CHARACTER * 0.875 * self.font * _PT

    def new_figure(self, height: float) -> Figure:
        """Return an empty figure of the page's width, ``height`` inches high."""
        from matplotlib.figure import Figure

        return Figure(figsize=(self.width, height), layout="constrained")

    def grid_of(self, count: int, narrowest: float) -> tuple[int, int]:
        """Return rows and columns of panels that are at least ``narrowest`` inches wide."""
        columns = max(1, min(count, int(self.width / narrowest)))
        rows = -(-count // columns)
        return rows, -(-count // rows)

    def legend_of(self, labels: Sequence[str]) -> tuple[int, int]:
        """Return the rows and columns of a legend, whose columns fit its longest label."""
        entry = (0.5 * 0.875 * max(map(len, labels)) + 3.8) * self.font * _PT
        return self.grid_of(len(labels), entry)


@dataclass(frozen=True)
class Drawing:
    """A finished plot with its caption, and its bytes by format."""

    slug: str
    caption: str
    width: float
    files: dict[str, bytes]


def size(width: str, font: float) -> Size:
    """Return the page size for a width such as ``8cm`` or ``3.15in``.

    Raises:
        LotteryError: width or font size is malformed or out of range.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(cm|in)\s*", width)
    if match is None:
        raise LotteryError(f"--width {width!r} is not a width; write 8cm or 3.15in")
    inches = float(match.group(1)) * (_CM if match.group(2) == "cm" else 1)
    if not 2 <= inches <= 40:
        raise LotteryError(f"--width {width} is out of range (5.1 to 101.6 cm, 2 to 40 in)")
    if not 4 <= font <= 30:
        raise LotteryError(f"--font-size {font:g} is out of range (4 to 30 points)")
    return Size(inches, font)


def looks(techniques: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line of each technique, for all plots of a report.

    Up to 77 techniques differ in colour or marker.
    """
    return {
        name: {"color": COLOURS[n % 7], "marker": MARKERS[n % 11], "linestyle": LINES[n % 5]}
        for n, name in enumerate(techniques)
    }


def draw(
    slug: str,
    caption: str,
    page: Size,
    paint: Callable[[Size], Figure],
    formats: Iterable[str] = FORMATS,
) -> Drawing:
    """Paint a plot and return it in some formats; equal plots have equal bytes."""
    import matplotlib

    files = {}
    settings: Any = {**_FIXED, **{name: share * page.font for name, share in _OF_FONT.items()}}
    with matplotlib.rc_context(settings):
        figure = paint(page)
        engine = figure.get_layout_engine()
        if engine is not None:  # lay out once: each savefig would do it again, and draw twice
            figure.set_dpi(PNG_DPI)  # at low resolutions, widths of text are rounded
            engine.execute(figure)
            figure.set_layout_engine(None)
        for format_ in formats:
            out = io.BytesIO()
            figure.savefig(out, format=format_, dpi=PNG_DPI, metadata=_UNDATED[format_])
            files[format_] = out.getvalue()
    return Drawing(slug, caption, page.width, files)


def legend_outside(
    figure: Figure, handles: Sequence[Any], labels: Sequence[str], page: Size, side: str = "lower"
) -> None:
    """Draw a legend below the plots, or above them with ``side="upper"``."""
    place: Any = f"outside {side} center"
    figure.legend(handles, labels, loc=place, ncols=page.legend_of(labels)[1])


def panels_of(figure: Figure, count: int, rows: int, columns: int) -> tuple[list[Axes], Any]:
    """Return the axes of ``count`` panels, and the grid; the last panel of a column has labels."""
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return list(grid.flat[:count]), grid


def share_axis(axes: Axes, shares: Iterable[float], page: Size, logarithmic: bool) -> None:
    """Set up an axis of the kept share, decreasing, labelled with the pruned share in percent.

    Args:
        logarithmic: whether the axis is logarithmic, as for densities; else linear.
    """
    kept = sorted({1 - share for share in shares if share < 1 or not logarithmic})
    place: Callable[[float], float] = math.log if logarithmic else float
    margin = 0.04 * (kept[-1] - kept[0]) or 0.04
    low, high = kept[0] - margin, kept[-1] + margin
    if logarithmic:
        low, high = kept[0] / 1.12, min(kept[-1] * 1.12, 1.06)
    axes.set_xlim(high, low)  # before the scale: a single point has no limits on a log scale
    axes.set_xscale("log" if logarithmic else "linear")
    inches = (page.width - 5 * page.line) / (place(high) - place(low))
    shown: list[float] = []
    for share in kept:  # labels start at the sparse end, where techniques differ most
        label_width = page.character * (len(percent(1 - share)) + 0.8)
        if not shown or (place(share) - place(shown[-1])) * inches > label_width:
            shown.append(share)
    axes.set_xticks(shown, [percent(1 - share) for share in shown])
    axes.set_xticks([share for share in kept if share not in shown], minor=True)
    if logarithmic:
        axes.xaxis.set_minor_formatter("")


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of an axis that spans at least a tenth of its largest value."""
    low, high = min(values), max(values)
    missing = max(0.0, (0.1 * max(abs(low), abs(high)) or 1.0) - (high - low)) / 2
    low, high = low - missing, high + missing
    margin = 0.05 * (high - low)
    return low - margin, high + margin
