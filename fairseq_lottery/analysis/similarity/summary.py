"""A readable table of similarities: the same layer in each model."""

from __future__ import annotations

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.results import Results
from fairseq_lottery.analysis.tables import by_place, measured


def summary(results: Results) -> list[str]:
    """Return tables of the same layers of two or more models, or of layer 1 with all others.

    Rows of single heads and of other pairs of layers are left out.
    """
    first, others = results.inputs["first"], list(results.inputs["others"])
    within = others == [first.get("recording")]
    rows = [row for row in results.rows if "head" not in row and _is_shown(row, within)]
    if within:
        return ["layer 1 compared to each layer", "", *by_place(rows)]
    if len(others) == 1:
        return by_place(rows)
    numbers = {name: f"[{number}]" for number, name in enumerate(others, 1)}

    def label(row: Row) -> str:
        return f"{measured(row)} {numbers.get(str(row.get('other')), 'all')}"

    # the values of a quantity below each other, in the order of the models
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    quantities = list(dict.fromkeys(measured(row) for row in rows))
    rows.sort(key=lambda row: (measures.index(row["measure"]), quantities.index(measured(row))))
    legend = [f"{number} {name}" for name, number in numbers.items()]
    return [*legend, "", *by_place(rows, label)]


def _is_shown(row: Row, within: bool) -> bool:
    layer = row.get("layer")
    return layer == 1 if within else row.get("other_layer", layer) == layer
