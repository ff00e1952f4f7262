"""Curves of quantities by sparsity, with a panel per layer and a line per technique."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.quantity_figure import figure
from fairseq_lottery.analysis.report.quantities import (
    SEEDS,
    TECHNIQUES,
    Model,
    Quantity,
    Scene,
    mean_of,
    part_text,
    values_of,
    wrapped,
)
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import (
    CHARACTER,
    GREY,
    Drawing,
    Size,
    legend_outside,
    limits,
    looks,
    panels_of,
)
from fairseq_lottery.report.reading.table_words import percent
from fairseq_lottery.report.tables.score_tables import deviation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: part and layer of a panel; the layer is None for values of a whole part or model
Place = tuple[str, Optional[int]]
#: most panels of a figure
_PANELS = 48
_CHANCE = "by chance"
_ORDER = ("encoder", "enc_self", "enc_ffn", "decoder", "dec_self", "enc_dec", "dec_ffn")


def layer_curves(
    quantity: Quantity, scene: Scene, chance: Optional[Quantity] = None
) -> Optional[Drawing]:
    """Plot a quantity of each layer by sparsity, with a line per technique.

    Of two models the same layer is compared; of two techniques the rows of all layers together
    have a panel per second technique. Values of the dense model are a dashed line, those of
    ``chance`` a dotted one.

    Returns:
        None without rows of layers, parts or models at a sparsity.
    """
    own = rows_of_layers(quantity, scene)
    pruned = [row for row in own if row.get("technique", DENSE) != DENSE and "sparsity" in row]
    if not pruned:
        return None
    shown = quantity.only(own)
    seeds = max(len(each) for each in values_of(own, "part", "layer").values())
    spread = f", mean and standard deviation over {seeds} values" if seeds > 1 else ""
    has_dense = any(row.get("technique") == DENSE for row in own)
    same = " of the same layer" if any("other_layer" in row for row in own) else ""
    dense = " The dashed line is the dense model" if has_dense else ""
    dense += " of two seeds" if has_dense and quantity.relation == SEEDS else ""
    panel = "layer, from 1,"
    if quantity.relation == TECHNIQUES:
        panel = "second technique (each pair is in one of the panels)"
    caption = (
        f"{shown.about}{same} by sparsity, with a panel per {panel} and a line per"
        f" technique{spread}.{axis_note(scene)}{dense}{'.' if has_dense else ''}"
    )
    by_chance: dict[tuple[Any, ...], list[float]] = {}
    for row in rows_of_layers(chance, scene) if chance is not None else ():
        if row.get("technique", DENSE) != DENSE:
            place = (row.get("part"), row.get("layer"), float(row["sparsity"]))
            by_chance.setdefault(place, []).append(float(row["value"]))
    caption += " The dotted line is what chance gives at these densities." if by_chance else ""
    return draw_curves(shown, "by-sparsity", caption, scene, by_chance)


def rows_of_layers(quantity: Quantity, scene: Scene) -> list[Row]:
    """Return the rows of layers, parts or models; of two techniques, the second is the part."""
    own = [row for row in quantity.rows if is_of_layer(row)]
    if quantity.relation != TECHNIQUES:
        return own
    return [
        {**row, "part": scene.title_of(str(row["against"]))} for row in own if "part" not in row
    ]


def draw_curves(
    quantity: Quantity,
    name: str,
    caption: str,
    scene: Scene,
    chance: Optional[Mapping[tuple[Any, ...], list[float]]] = None,
) -> Drawing:
    """Plot the rows of a quantity by sparsity, with a panel per part and layer.

    Args:
        chance: part, layer and sparsity -> values by chance.
    """
    pruned = [row for row in quantity.rows if row["technique"] != DENSE]
    values = values_of(quantity.rows, "part", "layer")
    places = _places(pruned)
    sparsities = sorted({float(row["sparsity"]) for row in pruned})
    names = [one for one in scene.techniques if any(r["technique"] == one for r in pruned)]
    return figure(
        quantity,
        name,
        caption,
        scene,
        lambda size: _curves(
            quantity, scene, values, places, sparsities, names, chance or {}, size
        ),
    )


def axis_note(scene: Scene) -> str:
    """Return a sentence on the axis of sparsities."""
    return " The axis is logarithmic in the density." if scene.axis[1] else ""


def is_of_layer(row: Row) -> bool:
    """Return whether a row is of a layer, part or model, or compares the same of two models."""
    if {"head", "matrix", "component"} & set(row):
        return False
    return row.get("other_layer", row.get("layer")) == row.get("layer") and row.get(
        "other_part", row.get("part")
    ) == row.get("part")


def part_order(part: str) -> tuple[int, str]:
    """Return the place of a part among others."""
    return _ORDER.index(part) if part in _ORDER else len(_ORDER), part


def _places(rows: Sequence[Row]) -> list[Place]:
    places = {
        (str(row.get("part", "")), int(row["layer"]) if "layer" in row else None) for row in rows
    }

    def order(place: Place) -> tuple[int, str, int]:
        part, layer = place
        return (*part_order(part), -1 if layer is None else layer)

    return sorted(places, key=order)[:_PANELS]


def place_text(place: Place) -> str:
    """Return the title of a panel."""
    part, layer = place
    return " ".join(filter(None, (part_text(part), "" if layer is None else str(layer))))


def _curves(
    quantity: Quantity,
    scene: Scene,
    values: Mapping[tuple[Any, ...], list[float]],
    places: Sequence[Place],
    sparsities: Sequence[float],
    names: Sequence[str],
    chance: Mapping[tuple[Any, ...], list[float]],
    page: Size,
) -> Figure:
    from matplotlib.ticker import FuncFormatter

    dense: Model = (DENSE, 0.0)
    has_dense = any(key[0] == dense for key in values)
    labels = [*(["dense"] if has_dense else []), *([_CHANCE] if chance else [])]
    labels += map(scene.title_of, names)
    rows, columns = _grid(places, page)
    height = rows * (min(max(0.75 * page.width / columns, 1.1), 1.7) + 1.6 * page.line)
    figure_ = page.new_figure(height + (3 + page.legend_of(labels)[0]) * page.line)
    axes, _ = panels_of(figure_, len(places), rows, columns)
    styles = looks(scene.techniques)
    factor = 100 if quantity.is_share else 1
    ends: list[float] = []
    handles: dict[str, Any] = {}
    for (part, layer), panel in zip(places, axes):
        key = (part or None, layer)
        reference = values.get((dense, *key))
        if reference:
            middle, sd = factor * mean_of(reference), factor * (deviation(reference) or 0.0)
            panel.axhspan(middle - sd, middle + sd, color=GREY, alpha=0.15, linewidth=0)
            handles[DENSE] = panel.axhline(middle, color=GREY, linestyle="--")
            ends += [middle - sd, middle + sd]
        by_chance = [(1 - s, factor * mean_of(chance[(*key, s)])) for s in sparsities
                     if (*key, s) in chance]  # fmt: skip
        if by_chance:
            handles[_CHANCE] = panel.plot(*zip(*by_chance), color=GREY, linestyle=":")[0]
            ends += [value for _, value in by_chance]
        for name in names:
            points = [(s, values[((name, s), *key)]) for s in sparsities
                      if ((name, s), *key) in values]  # fmt: skip
            if not points:
                continue
            means = [factor * mean_of(each) for _, each in points]
            spreads = [factor * (deviation(each) or math.nan) for _, each in points]
            known = [sd if sd == sd else 0.0 for sd in spreads]
            ends += [m + d for m, sd in zip(means, known) for d in (sd, -sd)]
            handles[name] = panel.errorbar(
                [1 - sparsity for sparsity, _ in points],
                means,
                yerr=None if all(map(math.isnan, spreads)) else spreads,
                markeredgecolor="white",
                elinewidth=0.09 * page.font,
                capsize=0.15 * page.font,
                **{**styles[name], "markersize": 0.4 * page.font},
            )
        panel.set_title(place_text((part, layer)))
    width = page.width / columns - 2.5 * page.line
    _sparsity_axis(axes[0], sparsities, page, width, scene.axis[1])
    axes[0].set_ylim(limits(ends))
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    figure_.supxlabel(scene.axis[0], fontsize=page.font)
    figure_.supylabel(axis_text(quantity.axis, height, page), fontsize=page.font)
    order = [name for name in (DENSE, _CHANCE, *names) if name in handles]
    titles = [scene.title_of(name) for name in order]
    legend_outside(figure_, [handles[name] for name in order], titles, page, side="upper")
    return figure_


def axis_text(text: str, height: float, page: Size) -> str:
    """Return a label of an axis, broken into lines of the height of the figure."""
    return wrapped(text, max(12, int(height / (1.05 * page.character))))


def _grid(places: Sequence[Place], page: Size) -> tuple[int, int]:
    """Return rows and columns of panels; a row per part if its layers fit."""
    parts = list(dict.fromkeys(part for part, _ in places))
    layers = len(places) // len(parts)
    title = CHARACTER * page.font / 72 * (1 + max(len(place_text(place)) for place in places))
    narrowest = max(6.4 * page.line, title)
    if len(parts) * layers == len(places) and layers > 1 and layers * narrowest <= page.width:
        return len(parts), layers
    return page.grid_of(len(places), narrowest)


def _sparsity_axis(
    axes: Axes, sparsities: Sequence[float], page: Size, width: float, logarithmic: bool
) -> None:
    """Set up the shared axis of sparsities, with labels that fit panels of a width in inches."""
    kept = sorted({1 - sparsity for sparsity in sparsities if sparsity < 1 or not logarithmic})
    low, high = kept[0] - 0.05, kept[-1] + 0.05
    if logarithmic:
        low, high = kept[0] / 1.2, min(kept[-1] * 1.2, 1.08)
    axes.set_xlim(high, low)
    axes.set_xscale("log" if logarithmic else "linear")
    place: Callable[[float], float] = math.log if logarithmic else float
    inches = width / (place(high) - place(low))
    shown: list[float] = []
    for share in kept:
        label = page.character * (len(percent(1 - share)) + 0.8)
        if not shown or (place(share) - place(shown[-1])) * inches > label:
            shown.append(share)
    axes.set_xticks(shown, [percent(1 - share) for share in shown])
    axes.set_xticks([], minor=True)
