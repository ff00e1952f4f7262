"""Tables of quantities by layer: a row per technique, sparsity and part, a column per layer."""

from __future__ import annotations

import statistics
from typing import Any, Optional

from fairseq_lottery.analysis.report.figures.curve_figures import rows_of_layers
from fairseq_lottery.analysis.report.quantities import Quantity, Scene, part_text, values_of
from fairseq_lottery.report.reading.table_words import percent, slug
from fairseq_lottery.report.tables.score_tables import deviation
from fairseq_lottery.report.tables.table_formats import MISSING, Table

#: most columns of layers
_LAYERS = 24


def layer_table(quantity: Quantity, scene: Scene) -> Optional[Table]:
    """Return the values of layers, those of the same layer of two models; None without any."""
    values = values_of(rows_of_layers(quantity, scene), "part", "layer")
    numbers = sorted({key[2] for key in values if key[2] is not None})[:_LAYERS]
    layers = [*([None] if any(key[2] is None for key in values) else []), *numbers]
    if not layers:
        return None
    rows, data = [], []
    parts = list(dict.fromkeys(key[1] for key in values))
    most = max(map(len, values.values()))
    for part in parts:
        for model in quantity.models(scene):
            cells = [values.get((model, part, layer), []) for layer in layers]
            if any(cells):
                technique, sparsity = model
                rows.append(
                    [
                        scene.title_of(technique),
                        percent(sparsity),
                        part_text(part or MISSING),
                        *(_text(quantity, cell) for cell in cells),
                    ]
                )
                data.append([technique, sparsity, part, *(n for cell in cells for n in _all(cell))])
    titles = ["all" if layer is None else str(layer) for layer in layers]
    columns = [f"layer {title} {name}" for title in titles for name in ("mean", "sd", "values")]
    spread = f" Mean ± sample standard deviation over {most} values." if most > 1 else ""
    about = f"{quantity.about[:1].upper()}{quantity.about[1:]}"
    return Table(
        slug=slug("-".join(filter(None, (scene.prefix, quantity.slug)))),
        caption=f"{about}, by layer{', %' if quantity.is_share else ''}.{spread}",
        header=["technique", scene.axis[0], "part", *titles],
        rows=rows,
        data=(["technique", "sparsity", "part", *columns], data),
    )


def _text(quantity: Quantity, values: list[float]) -> str:
    if not values:
        return MISSING
    factor = 100 if quantity.is_share else 1
    sd = deviation(values)
    mean = statistics.fmean(values) * factor
    digits = 1 if quantity.is_share or abs(mean) >= 10 else 3
    return f"{mean:.{digits}f}" + (f" ± {sd * factor:.{digits}f}" if sd is not None else "")


def _all(values: list[float]) -> list[Any]:
    return [statistics.fmean(values) if values else None, deviation(values), len(values)]
