"""Curves of quantities by number of components, as of cumulative variance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.curve_figures import axis_text
from fairseq_lottery.analysis.report.figures.quantity_figure import figure
from fairseq_lottery.analysis.report.quantities import (
    Model,
    Quantity,
    Scene,
    mean_of,
    part_text,
    values_of,
    wrapped,
)
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import GREY, Drawing, Size, legend_outside, panels_of
from fairseq_lottery.report.reading.table_words import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def component_curves(quantity: Quantity, scene: Scene) -> Iterator[Drawing]:
    """Yield plots of the values by number of components, for the first and the last layer.

    A panel per technique has a line per sparsity, and the dense model dashed. Rows without
    techniques, of a single model, have a line per layer.
    """
    rows = [row for row in quantity.rows if "component" in row and "matrix" not in row]
    parts = dict.fromkeys(str(row.get("part", "")) for row in rows)
    for part in parts:
        own = [row for row in rows if row.get("part", "") == part]
        shown = quantity.only(own)
        layers = sorted({int(row["layer"]) for row in own if "layer" in row})
        if any("sparsity" in row for row in own):
            drawing = _component_sweep(shown, part, sorted({layers[0], layers[-1]}), scene)
        else:
            drawing = _component_layers(shown, part, layers, scene)
        if drawing is not None:
            yield drawing


def _component_sweep(
    quantity: Quantity, part: str, layers: Sequence[int], scene: Scene
) -> Optional[Drawing]:
    values = _component_means(row for row in quantity.rows if row.get("layer") in layers)
    names = [n for n in scene.techniques if any(model[0] == n for model, _ in values)]
    sparsities = sorted({model[1] for model, _ in values if model[1]})
    if not names:
        return None
    panels = [(layer, name) for layer in layers for name in names]
    lines = {
        (layer, name): [
            *([("dense", values[(DENSE, 0.0), layer])] if ((DENSE, 0.0), layer) in values else []),
            *(
                (f"{percent(sparsity)} %", values[(name, sparsity), layer])
                for sparsity in sparsities
                if ((name, sparsity), layer) in values
            ),
        ]
        for layer, name in panels
    }
    titles = {(n, name): f"{wrapped(scene.title_of(name), 13)}\nlayer {n}" for n, name in panels}
    caption = (
        f"{quantity.about}, {part_text(part)}, by number of components, with a panel per technique"
        " for the first and the last layer, a line per sparsity, and the dense model dashed; the"
        " mean over seeds. A curve that rises faster has fewer directions."
    )
    return figure(
        quantity,
        f"components-{part}",
        caption,
        scene,
        lambda size: _component_figure(quantity, lines, titles, size),
    )


def _component_layers(
    quantity: Quantity, part: str, layers: Sequence[int], scene: Scene
) -> Optional[Drawing]:
    values = _component_means(quantity.rows)
    lines = {0: [(f"layer {n}", v) for n in layers for (_, own), v in values.items() if own == n]}
    caption = (
        f"{quantity.about}, {part_text(part)}, by number of components, with a line per layer. A"
        " curve that rises faster has fewer directions."
    )
    return figure(
        quantity,
        f"components-{part}",
        caption,
        scene,
        lambda size: _component_figure(quantity, lines, {0: part_text(part)}, size),
    )


def _component_means(rows: Iterable[Row]) -> dict[tuple[Model, Any], list[tuple[int, float]]]:
    """Return model and layer -> points of the curve, the mean over seeds."""
    curves: dict[tuple[Model, Any], list[tuple[int, float]]] = {}
    for (model, layer, component), values in values_of(rows, "layer", "component").items():
        curves.setdefault((model, layer), []).append((component, mean_of(values)))
    return {key: sorted(points) for key, points in curves.items()}


def _component_figure(
    quantity: Quantity, lines: Mapping[Any, Any], titles: Mapping[Any, str], page: Size
) -> Figure:
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    labels = list(dict.fromkeys(label for own in lines.values() for label, _ in own))
    coloured = [label for label in labels if label != "dense"]
    colours = {
        label: colormaps["viridis"](0.9 * n / max(len(coloured) - 1, 1))
        for n, label in enumerate(coloured)
    }
    styles: dict[str, dict[str, Any]] = {n: {"color": colour} for n, colour in colours.items()}
    styles["dense"] = {"color": GREY, "linestyle": "--"}
    rows, columns = page.grid_of(len(lines), 7.5 * page.line)
    per_row = len(lines) // 2
    if len(lines) > columns and len(lines) % 2 == 0 and per_row * 7.5 * page.line <= page.width:
        rows, columns = 2, per_row  # a row per layer
    heading = 1 + max(title.count("\n") for title in titles.values())
    height = rows * (min(0.75 * page.width / columns, 2.2) + (0.6 + heading) * page.line)
    figure_ = page.new_figure(height + (3 + page.legend_of(labels)[0]) * page.line)
    axes, _ = panels_of(figure_, len(lines), rows, columns)
    factor = 100 if quantity.is_share else 1
    for (key, own), panel in zip(lines.items(), axes):
        for label, points in own:
            panel.plot(
                [component for component, _ in points],
                [factor * value for _, value in points],
                **styles[label],
            )
        panel.set_title(titles[key])
    axes[0].set_xscale("log")
    axes[0].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if quantity.is_share:
        axes[0].set_ylim(0, 103)
    figure_.supxlabel("number of components", fontsize=page.font)
    figure_.supylabel(axis_text(quantity.axis, height, page), fontsize=page.font)
    handles = [Line2D([], [], **styles[label]) for label in labels]
    legend_outside(figure_, handles, labels, page, side="upper")
    return figure_
