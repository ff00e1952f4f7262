"""Heat maps of quantities: layer x layer, layer x head, and matrix x layer, a panel per model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures import figure
from fairseq_lottery.analysis.report.quantities import (
    Model,
    Quantity,
    Scene,
    mean_of,
    part_text,
    values_of,
)
from fairseq_lottery.report.plots.drawings import Drawing
from fairseq_lottery.report.plots.heat_maps import Cells, Ticks, heat_maps

#: most panels of a figure; of more models, some sparsities are left out
_PANELS = 16
#: most layers of a map
_LAYERS = 200
_MATRIX = re.compile(
    r"^(enc|dec)oder\.layers\.(\d{1,4})\.(?:(self|encoder)_attn\.(q|k|v|out)_proj|fc(\d))\.weight$"
)
#: rows of a map of matrices
_KINDS = (
    *(f"{name} {part}" for name in ("self", "cross") for part in ("q", "k", "v", "out")),
    "fc1", "fc2",
)  # fmt: skip


@dataclass(frozen=True)
class Panels:
    """Panels of one shape, with the labels of their axes."""

    cells: Sequence[tuple[str, Cells]]
    columns: Ticks
    rows: Ticks


def layer_maps(quantity: Quantity, part: str, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of all pairs of layers of a part; None without such rows."""
    own = [
        row
        for row in quantity.rows
        if row.get("part") == part
        and row.get("other_part", part) == part
        and {"layer", "other_layer"} <= set(row)
        and "head" not in row
        and max(int(row["layer"]), int(row["other_layer"])) <= _LAYERS
    ]
    if not own:
        return None
    shown = quantity.only(own)
    deep, wide = (max(int(row[name]) for row in own) for name in ("layer", "other_layer"))
    values = values_of(own, "layer", "other_layer")
    models, note = _shown(shown.models(scene))
    panels = Panels(
        [
            (
                scene.label_of(model),
                [
                    [mean_of(values.get((model, row, column))) for column in range(1, wide + 1)]
                    for row in range(1, deep + 1)
                ],
            )
            for model in models
        ],
        {n: str(n + 1) for n in range(wide)},
        {n: str(n + 1) for n in range(deep)},
    )
    second = f"layer of the {quantity.relation} model" if quantity.relation else "other layer"
    caption = (
        f"{shown.about}, {part_text(part)}, all pairs of layers: a row per layer, a column per"
        f" {second}, from 1; the diagonal compares the same layers.{note}"
    )
    return draw_panels(shown, f"layers-{part}", caption, scene, panels)


def head_maps(quantity: Quantity, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of all heads, of the same layer of two models; None without such rows."""
    own = [
        row
        for row in quantity.rows
        if {"part", "layer", "head"} <= set(row)
        and row.get("other_layer", row["layer"]) == row["layer"]
        and int(row["layer"]) <= _LAYERS
        and int(row["head"]) <= _LAYERS
    ]
    if not own:
        return None
    shown = quantity.only(own)
    values = values_of(own, "part", "layer", "head")
    models, note = _shown(shown.models(scene))
    places = head_places(own)
    panels = Panels(
        [(scene.label_of(m), head_grid(values, m, places, own)) for m in models],
        *head_ticks(places, own),
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
    layers = max(int(row["layer"]) for row in rows)
    step = math.ceil(layers / 24)
    return columns, {n: str(n + 1) for n in range(0, layers, step)}


def matrix_maps(quantity: Quantity, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of the matrices of each layer; None without such rows."""
    found: list[tuple[tuple[str, int, str], Row]] = []
    for row in quantity.rows:
        place = matrix_place(str(row.get("matrix", "")))
        if place is not None and place[1] <= _LAYERS and "component" not in row:
            found.append((place, row))
    if not found:
        return None
    shown = quantity.only(row for _, row in found)
    values: dict[tuple[Any, ...], list[float]] = {}
    for place, row in found:
        for key, own in values_of([row]).items():
            values.setdefault((*key, *place), []).extend(own)
    kinds = [kind for kind in _KINDS if any(place[2] == kind for place, _ in found)]
    columns = [
        (side, layer)
        for side in ("enc", "dec")
        for layer in sorted({place[1] for place, _ in found if place[0] == side})
    ]
    break_at = next((n for n, (side, _) in enumerate(columns) if side == "dec"), 0)
    spaced: list[Optional[tuple[str, int]]] = [*columns]
    if break_at:
        spaced.insert(break_at, None)
    models, note = _shown(shown.models(scene))
    panels = Panels(
        [
            (
                scene.label_of(model),
                [
                    [
                        math.nan if c is None else mean_of(values.get((model, *c, kind)))
                        for c in spaced
                    ]
                    for kind in kinds
                ],
            )
            for model in models
        ],
        _layer_labels(spaced),
        dict(enumerate(kinds)),
    )
    caption = (
        f"{shown.about} by matrix and layer: a row per matrix and a column per layer, from 1, first"
        f" of the encoder, then of the decoder, the mean over seeds; white where there is none."
        f"{note}"
    )
    height = 0.9 * scene.page.line
    return draw_panels(shown, "matrices", caption, scene, panels, True, row_height=height)


def _layer_labels(columns: Sequence[Optional[tuple[str, int]]]) -> Ticks:
    """Return the numbers of the first and last layer of each side, around its name."""
    labels: dict[float, str] = {}
    for side in ("enc", "dec"):
        own = [n for n, column in enumerate(columns) if column is not None and column[0] == side]
        if own:
            for end in (own[0], own[-1]):
                labels[end] = str(columns[end][1])  # type: ignore[index]
            middle = (own[0] + own[-1]) / 2
            labels[middle] = side if len(own) > 2 else f"\n{side}"
    return labels


def matrix_place(name: str) -> Optional[tuple[str, int, str]]:
    """Return side, layer from 1, and row of a matrix in a map; None for embeddings and others."""
    match = _MATRIX.match(name)
    if match is None:
        return None
    side, layer, attention, part, fc = match.groups()
    kind = f"fc{fc}" if fc else f"{'cross' if attention == 'encoder' else 'self'} {part}"
    return side, int(layer) + 1, kind


def _shown(models: Sequence[Model]) -> tuple[Sequence[Model], str]:
    """Return the models that a figure has room for, and a note on the others."""
    if len(models) <= _PANELS:
        return models, ""
    sparsities = sorted({sparsity for _, sparsity in models if sparsity})
    techniques = len({technique for technique, sparsity in models if sparsity}) or 1
    count = max(1, (_PANELS - 1) // techniques)
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
) -> Drawing:
    """Draw panels of a quantity on one scale; the last arguments are as in ``heat_maps``."""
    values = [v for _, cells in panels.cells for row in cells for v in row if not math.isnan(v)]
    low, high = scale(values, quantity.is_share)
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
            row_height=row_height,
        ),
    )


def scale(values: Sequence[float], is_share: bool) -> tuple[float, float]:
    """Return the ends of a scale: round numbers around the values, and at most 1 for shares."""
    low, high = min(values), max(values)
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9, 0.02 * max(abs(low), abs(high)))))
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if is_share:
        return max(0.0, bottom), min(1.0, max(top, bottom + 0.1))
    return bottom, max(top, bottom + step)
