"""Heat maps of quantities: layer x layer, and layer x head, with a panel per model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.quantity_figure import figure
from fairseq_lottery.analysis.report.quantities import (
    Model,
    Quantity,
    Scene,
    mean_of,
    part_text,
    values_of,
)
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Drawing
from fairseq_lottery.report.plots.heat_maps import Cells, Ticks, heat_maps

#: most panels of a figure; of more models, some sparsities are left out
MOST_PANELS = 16
#: most layers of a map
LAYERS = 200
#: what columns and rows of a grid of heads are
HEAD_AXES = ("heads of each kind of attention", "layer")


@dataclass(frozen=True)
class Panels:
    """Panels of one shape, with the labels and the names of their axes."""

    cells: Sequence[tuple[str, Cells]]
    columns: Ticks
    rows: Ticks
    names: tuple[str, str] = ("", "")
    texts: Sequence[Sequence[Sequence[str]]] = ()


def layer_maps(quantity: Quantity, scene: Scene) -> Iterator[Drawing]:
    """Yield plots of a quantity of all pairs of layers, one for all parts of one shape."""
    by_part: dict[str, list[Row]] = {}
    for row in quantity.rows:
        if _is_of_pair(row):
            by_part.setdefault(str(row["part"]), []).append(row)
    by_shape: dict[tuple[int, int], list[str]] = {}
    for part, rows in by_part.items():
        shape = (max(int(row[name]) for row in rows) for name in ("layer", "other_layer"))
        by_shape.setdefault(tuple(shape), []).append(part)  # type: ignore[arg-type]
    for (deep, wide), parts in by_shape.items():
        shown = quantity.only(row for part in parts for row in by_part[part])
        values = values_of(shown.rows, "part", "layer", "other_layer")
        models, note = shown_models(shown.models(scene), len(parts))
        panels = [
            (
                "\n".join(filter(None, (scene.label_of(model), part_text(part)))),
                [
                    [mean_of(values.get((model, part, row, column))) for column in _from_1(wide)]
                    for row in _from_1(deep)
                ],
            )
            for part in parts
            for model in models
        ]
        first, second = _layer_names(quantity.relation)
        caption = (
            f"{shown.about}, all pairs of layers: a row per {first} and a column per {second}, from"
            f" 1, the mean over seeds; the diagonal compares the same layers.{note}"
        )
        name = "-".join(("layers", *(parts if len(by_shape) > 1 else ())))
        yield draw_panels(
            shown,
            name,
            caption,
            scene,
            Panels(panels, _numbers(wide), _numbers(deep), (second, first)),
        )


def _layer_names(relation: str) -> tuple[str, str]:
    """Return what the layers of rows and of columns are, for the technique of a comparison."""
    if not relation:
        return "layer of the first model", "layer of the second model"
    first = "sparse model" if relation == DENSE else "model in the title"
    return f"layer of the {first}", f"layer of the {relation} model"


def _is_of_pair(row: Row) -> bool:
    if not {"part", "layer", "other_layer"} <= set(row) or {"head", "component"} & set(row):
        return False
    is_of_part = row.get("other_part", row["part"]) == row["part"]
    return is_of_part and max(int(row["layer"]), int(row["other_layer"])) <= LAYERS


def _numbers(count: int) -> dict[float, str]:
    """Return the labels of an axis of layers, from 1."""
    return {n: str(n + 1) for n in range(0, count, math.ceil(count / 24))}


def _from_1(count: int) -> range:
    return range(1, count + 1)


def head_maps(quantity: Quantity, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of all heads, of the same layer of two models; None without such rows."""
    own = [
        row
        for row in quantity.rows
        if {"part", "layer", "head"} <= set(row)
        and row.get("other_layer", row["layer"]) == row["layer"]
        and int(row["layer"]) <= LAYERS
        and int(row["head"]) <= LAYERS
    ]
    if not own:
        return None
    shown = quantity.only(own)
    values = values_of(own, "part", "layer", "head")
    models, note = shown_models(shown.models(scene))
    places = head_places(own)
    panels = Panels(
        [(scene.label_of(m), head_grid(values, m, places, own)) for m in models],
        *head_ticks(places, own),
        HEAD_AXES,
    )
    caption = (
        f"{shown.about}: a row per layer and a column per head, from 1, for"
        f" {', '.join(map(part_text, places))}, the mean over seeds; white where no head is, or"
        f" where it is pruned.{note}"
    )
    return draw_panels(shown, "heads", caption, scene, panels, is_spaced=True)


def head_places(rows: Iterable[Row]) -> dict[str, tuple[int, int]]:
    """Return kind of attention -> the columns of its first and last head."""
    most: dict[str, int] = {}
    for row in rows:
        part = str(row["part"])
        most[part] = max(int(row["head"]), most.get(part, 0))
    places, column = {}, 0
    for part in sorted(most, key=lambda name: (name == "enc_dec", name != "enc_self", name)):
        places[part] = (column, column + most[part] - 1)
        column += most[part] + 1
    return places


def head_grid(
    values: Mapping[tuple[Any, ...], list[float]],
    model: Model,
    places: Mapping[str, tuple[int, int]],
    rows: Sequence[Row],
) -> list[list[float]]:
    """Return the means of a model's heads, a row per layer, with a column between kinds."""
    wide = 1 + max(last for _, last in places.values())
    grid = []
    for layer in range(1, 1 + max(int(row["layer"]) for row in rows)):
        line = [math.nan] * wide
        for part, (first, last) in places.items():
            for column in range(first, last + 1):
                line[column] = mean_of(values.get((model, part, layer, column - first + 1)))
        grid.append(line)
    return grid


def head_ticks(places: Mapping[str, tuple[int, int]], rows: Sequence[Row]) -> tuple[Ticks, Ticks]:
    """Return the labels of columns and rows of a grid of heads."""
    columns = {(first + last) / 2: part_text(part) for part, (first, last) in places.items()}
    return columns, _numbers(max(int(row["layer"]) for row in rows))


def shown_models(models: Sequence[Model], each: int = 1) -> tuple[Sequence[Model], str]:
    """Return the models that a figure has room for, and a note on the others.

    Args:
        each: number of panels of a model.
    """
    if len(models) * each <= MOST_PANELS:
        return models, ""
    sparsities = sorted({sparsity for _, sparsity in models if sparsity})
    techniques = len({technique for technique, sparsity in models if sparsity}) or 1
    count = max(1, (MOST_PANELS // each - 1) // techniques)
    last = len(sparsities) - 1
    kept = {sparsities[last - round(n * last / max(count - 1, 1))] for n in range(count)}
    shown = [model for model in models if not model[1] or model[1] in kept]
    return shown, " Other sparsities are in the CSV file."


def draw_panels(
    quantity: Quantity,
    name: str,
    caption: str,
    scene: Scene,
    panels: Panels,
    is_spaced: bool = False,
    has_numbers: bool = True,
    row_height: Optional[float] = None,
    may_be_logarithmic: bool = False,
    ends: Optional[tuple[float, float]] = None,
) -> Drawing:
    """Draw panels of a quantity on one scale; further arguments are as in ``heat_maps``.

    Args:
        may_be_logarithmic: whether shares that differ much have a logarithmic scale.
        ends: ends of the scale; by default round numbers around the values.
    """
    values = [v for _, cells in panels.cells for row in cells for v in row if not math.isnan(v)]
    low, high = ends or scale(values, quantity.is_share)
    logarithmic = quantity.is_share and may_be_logarithmic and is_wide(values)
    if logarithmic:
        low = min(value for value in values if value > 0)
        caption += " The scale is logarithmic"
        caption += "; orange is 0." if min(values) == 0 else "."
    return figure(
        quantity,
        name,
        caption,
        scene,
        lambda size: heat_maps(
            panels.cells,
            panels.columns,
            panels.rows,
            size,
            quantity.axis,
            low=low,
            high=high,
            in_percent=quantity.is_share,
            is_spaced=is_spaced,
            has_numbers=has_numbers,
            has_edges=is_spaced and (not has_numbers or bool(panels.texts)),
            row_height=row_height,
            logarithmic=logarithmic,
            names=panels.names,
            texts=panels.texts,
        ),
    )


def is_wide(values: Sequence[float]) -> bool:
    """Return whether most values are above 0, and the largest is five times the smallest."""
    positive = [value for value in values if value > 0]
    return len(positive) > 0.8 * len(values) and max(positive) > 5 * min(positive)


def scale(values: Sequence[float], is_share: bool) -> tuple[float, float]:
    """Return the ends of a scale: round numbers around the values, and at most 1 for shares."""
    low, high = min(values), max(values)
    spread = max(high - low, 0.02 * max(abs(low), abs(high)), 1e-9)
    step = 10 ** math.floor(math.log10(spread / 2))
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if is_share:
        top = min(1.0, max(top, bottom + 0.1))
        return max(0.0, min(bottom, top - 0.1)), top
    return bottom, max(top, bottom + step)
