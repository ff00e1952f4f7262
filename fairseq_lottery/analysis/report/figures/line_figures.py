"""Lines of single models: by layer, by position between two models, and by update."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.curve_figures import axis_text, is_of_layer, part_order
from fairseq_lottery.analysis.report.figures.quantity_figure import figure
from fairseq_lottery.analysis.report.quantities import Quantity, Scene, mean_of, part_text
from fairseq_lottery.report.plots.drawings import (
    GREY,
    Drawing,
    Size,
    legend_outside,
    limits,
    looks,
)
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.tables.score_tables import deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: label of a line -> value of the axis -> values there
Lines = Mapping[str, Mapping[float, Sequence[float]]]

CONNECT, MASK_DISTANCE = "connect", "mask-distance"
#: statistic of connect -> its title, and whether it is a share
_CONNECT = {
    "loss": ("loss, nats per token", False),
    "error": ("wrong tokens", True),
    "loss-barrier": ("barrier of the loss, nats per token", False),
    "error-barrier": ("barrier of the share of wrong tokens", True),
}
#: statistic of distances of masks -> label of its line
_CHANCE = "to the last mask, by chance"
_DISTANCES = {"previous": "to the mask before", "last": "to the last mask", "expected": _CHANCE}
#: most lines of a figure
_LINES = 24


def layer_lines(quantity: Quantity, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of single models by layer, with a line per part; None for other rows."""
    own = [
        row
        for row in quantity.rows
        if "layer" in row and "other_layer" not in row and "sparsity" not in row
        if is_of_layer(row)
    ]
    if not own:
        return None
    shown = quantity.only(sorted(own, key=lambda row: part_order(str(row.get("part", "")))))

    def label(row: Row) -> str:
        names = scene.title_of(str(row.get("technique", ""))), part_text(row.get("part", ""))
        return ", ".join(filter(None, names)) or "model"

    lines = _collect(shown.rows, label, "layer")
    caption = f"{shown.about} by layer, from 1, with a line per part{_spread(lines)}."
    return _figure(shown, "by-layer", caption, scene, lines, "layer")


def connection_lines(quantities: Iterable[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield plots of ``fairseq-lottery connect``: the loss and the error between two models.

    Of several updates, also the barriers by update.
    """
    every = list(quantities)
    for statistic, (title, is_share) in _CONNECT.items():
        of_statistic = [one for one in every if one.key[2] == statistic]
        rows = [row for one in of_statistic for row in one.rows]
        column = "component" if statistic.endswith("barrier") else "alpha"
        rows = [row for row in rows if column in row]
        if not rows:
            continue
        bounds = (0.0, 1.0) if is_share else (0.0, None)
        key = (CONNECT, "", statistic, "", "")
        shown = replace(
            of_statistic[0], key=key, title=title, limits=bounds, relation="", rows=rows
        )
        if column == "alpha":
            lines = _collect(rows, _pair, column)
            caption = (
                f"{title} on the line between two models, from the first (alpha 0) to the second"
                " (alpha 1)."
            )
            yield _figure(shown, "by-alpha", caption, scene, lines, "alpha")
        else:
            lines = _collect(rows, _sparsity, column)
            caption = f"{title} between two models by the update from which they differ"
            yield _figure(shown, "by-update", f"{caption}{_spread(lines)}.", scene, lines, "update")


def distance_lines(quantities: Iterable[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield a plot of ``fairseq-lottery early-bird``: the distances of masks by update."""
    every = [one for one in quantities if one.key[2] in _DISTANCES]
    rows = [row for one in every for row in one.rows if "component" in row]
    if not rows:
        return
    shown = replace(
        every[0],
        key=(MASK_DISTANCE, "", "", "", ""),
        title="weights that one of two masks keeps",
        limits=(0.0, 1.0),
        rows=rows,
    )
    sparsities = {float(row["threshold"]) for row in rows if "threshold" in row}
    of = f" of {', '.join(percent(one) for one in sorted(sparsities))} % sparsity"
    caption = f"distance of the masks{of if sparsities else ''} that are drawn at each update."
    lines = _collect(rows, lambda row: _DISTANCES[str(row["statistic"])], "component")
    yield _figure(shown, "by-update", caption, scene, lines, "update")


def _pair(row: Row) -> str:
    names = [_sparsity(row), f"update {row['component']}"] if "component" in row else []
    return ", ".join(filter(None, (*names, str(row.get("pair", "")))))


def _sparsity(row: Row) -> str:
    return f"{percent(float(row['threshold']))} % sparsity" if row.get("threshold") else ""


def _collect(rows: Iterable[Row], label: Any, column: str) -> Lines:
    lines: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        points = lines.setdefault(label(row), {})
        points.setdefault(row[column], []).append(float(row["value"]))  # type: ignore[arg-type]
    return lines


def _spread(lines: Lines) -> str:
    most = max(len(values) for points in lines.values() for values in points.values())
    return f", mean and standard deviation over {most} values" if most > 1 else ""


def _figure(
    quantity: Quantity, name: str, caption: str, scene: Scene, lines: Lines, axis: str
) -> Drawing:
    shown = dict(list(lines.items())[:_LINES])
    if len(shown) < len(lines):
        caption += f" {len(lines) - len(shown)} more lines are in the CSV file."
    return figure(
        quantity, name, caption, scene, lambda size: _paint(quantity, shown, axis, size)
    )  # fmt: skip


def _paint(quantity: Quantity, lines: Lines, axis: str, page: Size) -> Figure:
    from matplotlib.ticker import MaxNLocator

    labels = list(lines)
    has_legend = labels != [""]
    height = min(0.5 * page.width, 3)
    rows = page.legend_of(labels)[0] if has_legend else 0
    figure_ = page.new_figure(height + (3 + rows) * page.line)
    axes = figure_.add_subplot()
    factor = 100 if quantity.is_share else 1
    styles = looks(labels)
    if _CHANCE in styles:
        styles[_CHANCE] = {"color": GREY, "linestyle": ":"}
    ends: list[float] = []
    handles = []
    for label, points in lines.items():
        places = sorted(points)
        means = [factor * mean_of(points[place]) for place in places]
        spreads = [factor * (deviation(points[place]) or 0.0) for place in places]
        ends += [m + d for m, sd in zip(means, spreads) for d in (sd, -sd)]
        handles.append(
            axes.errorbar(
                places,
                means,
                yerr=spreads if any(spreads) else None,
                markeredgecolor="white",
                elinewidth=0.09 * page.font,
                capsize=0.15 * page.font,
                **styles[label],
            )
        )
    if axis != "alpha":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(limits(ends))
    axes.set_xlabel(axis)
    axes.set_ylabel(axis_text(quantity.axis, height - 3 * page.line, page))
    if has_legend:
        legend_outside(figure_, handles, labels, page)
    return figure_
