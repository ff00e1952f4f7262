"""Heat maps of quantities of matrices, by matrix and layer, with a panel per model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

from fairseq_lottery.analysis.matrix_places import MATRICES, matrix_place
from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.heat_map_figures import (
    LAYERS,
    Panels,
    draw_panels,
    shown_models,
)
from fairseq_lottery.analysis.report.quantities import Quantity, Scene, mean_of, values_of
from fairseq_lottery.report.plots.drawings import Drawing
from fairseq_lottery.report.plots.heat_maps import Ticks


def matrix_maps(quantity: Quantity, scene: Scene) -> Optional[Drawing]:
    """Plot a quantity of the matrices of each layer; None without such rows."""
    found: list[tuple[tuple[str, int, str], Row]] = []
    for row in quantity.rows:
        place = matrix_place(str(row.get("matrix", "")))
        if place is not None and place[1] <= LAYERS and "component" not in row:
            found.append((place, row))
    if not found:
        return None
    shown = quantity.only(row for _, row in found)
    values: dict[tuple[Any, ...], list[float]] = {}
    for place, row in found:
        for key, own in values_of([row]).items():
            values.setdefault((*key, *place), []).extend(own)
    kinds = [kind for kind in MATRICES if any(place[2] == kind for place, _ in found)]
    columns = [
        (side, layer)
        for side in ("enc", "dec")
        for layer in sorted({place[1] for place, _ in found if place[0] == side})
    ]
    break_at = next((n for n, (side, _) in enumerate(columns) if side == "dec"), 0)
    spaced: list[Optional[tuple[str, int]]] = [*columns]
    if break_at:
        spaced.insert(break_at, None)
    models, note = shown_models(shown.models(scene))
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
        ("layer", "matrix"),
    )
    caption = (
        f"{shown.about} by matrix and layer: a row per matrix and a column per layer, from 1, first"
        f" of the encoder, then of the decoder, the mean over seeds; cells without a matrix are"
        f" white.{note}"
    )
    height = 0.9 * scene.page.line
    return draw_panels(
        shown,
        "matrices",
        caption,
        scene,
        panels,
        is_spaced=True,
        row_height=height,
        may_be_logarithmic=True,
    )


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
