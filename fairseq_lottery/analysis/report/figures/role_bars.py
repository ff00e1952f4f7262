"""Figures of what ``roles`` counts: heads by layer, changes since another model, survivors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.curve_figures import part_order
from fairseq_lottery.analysis.report.figures.heat_map_figures import (
    MOST_PANELS,
    Panels,
    draw_panels,
)
from fairseq_lottery.analysis.report.figures.quantity_figure import figure
from fairseq_lottery.analysis.report.quantities import (
    Model,
    Quantity,
    Scene,
    mean_of,
    model_of,
    part_text,
    values_of,
)
from fairseq_lottery.analysis.roles.role_labels import is_detail
from fairseq_lottery.report.plots.drawings import (
    COLOURS,
    GREY,
    Drawing,
    Size,
    legend_outside,
    panels_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTS, CHANGES, SURVIVORS = "role-counts", "role-changes", "role-survivors"
#: panel -> label of a bar -> statistic -> value
Bars = Mapping[str, Mapping[str, Mapping[str, float]]]
#: statistic -> its colour, and the sign of its direction
_CHANGES = {"lost": (COLOURS[1], -1), "kept": (COLOURS[0], 1), "gained": (COLOURS[2], 1)}
_SHARES = {"all-heads": (GREY, 1), "survivors": (COLOURS[0], 1)}
#: largest p-value that is marked
_LEVEL = 0.05
#: most roles and most bars of a figure
_MOST = 24


def count_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield a map of how many heads of each layer have each role, with a panel per model."""
    rows = [row for one in quantities for row in one.rows if {"role", "layer"} <= set(row)]
    if not any(row["value"] for row in rows):
        return
    own = _of_measure(quantities[0], "number of heads with a role", rows, None)
    kinds = list(dict.fromkeys(str(row["part"]) for row in own.rows))
    places = sorted({(kinds.index(str(row["part"])), int(row["layer"])) for row in own.rows})
    columns = [(kinds[kind], layer) for kind, layer in places]
    values = values_of(own.rows, "role", "part", "layer")
    having = {key[1] for key, counts in values.items() if any(counts)}
    roles = [role for role in dict.fromkeys(row["role"] for row in own.rows) if role in having]
    models = last_models(own.models(scene))[:MOST_PANELS]
    # an empty column between kinds
    spaced: list[Any] = []
    for column in columns:
        spaced += [None] if spaced and spaced[-1][0] != column[0] else []
        spaced.append(column)
    grids = [
        (
            scene.label_of(model),
            [
                [math.nan if c is None else mean_of(values.get((model, role, *c))) for c in spaced]
                for role in roles[:_MOST]
            ],
        )
        for model in models
    ]
    texts = [[[f"{v:.3g}" for v in row] for row in cells] for _, cells in grids]
    ticks = {
        (min(at) + max(at)) / 2: part_text(kind)
        for kind in kinds
        if (at := [n for n, column in enumerate(spaced) if column and column[0] == kind])
    }
    caption = (
        f"{own.about}: a row per role and a column per layer, from 1, of each kind of attention;"
        " white where the role does not apply."
    )
    most = max(v for _, cells in grids for row in cells for v in row if not math.isnan(v))
    names = ("layers of each kind of attention", "role")
    panels = Panels(grids, ticks, dict(enumerate(map(str, roles[:_MOST]))), names, texts)
    yield draw_panels(
        own, "by-layer", caption, scene, panels, True,
        row_height=0.9 * scene.page.line, ends=(0.0, most),
    )  # fmt: skip


def change_bars(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield bars of how many heads lost, kept and gained each role.

    Of a single model there is a panel per kind of attention and a bar per role; of several a panel
    per role and a bar per technique and sparsity.
    """
    rows = [row for one in quantities for row in one.rows if row.get("statistic") in _CHANGES]
    if not rows:
        return
    shown = _of_measure(quantities[0], "changes of roles", rows, None)
    bars = _bars(shown, scene)
    by = "a panel per role and a bar per model" if shown.has("sparsity") else (
        "a panel per kind of attention and a bar per role")  # fmt: skip
    caption = (
        f"{shown.about}: {by}. Left of 0 are the heads that have lost the role, right of 0 those"
        " that kept it and those that gained it."
    )
    yield figure(shown, "bars", caption, scene, lambda page: _paint(
        bars, _CHANGES, "number of heads", page))  # fmt: skip


def survivor_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield bars of the share of the survivors with each role, beside that of all heads."""
    rows = [
        row for one in quantities for row in one.rows if row.get("statistic") in (*_SHARES, "p")
    ]
    if not rows:
        return
    shown = _of_measure(quantities[0], "heads with a role", rows, 1.0)
    bars = _bars(shown, scene, by_kind=True)
    caption = (
        f"{shown.about}: the share of the survivors, and of all heads before pruning, with a panel"
        f" per kind of attention. A star marks p < {_LEVEL:g} (Fisher's exact test, not corrected)."
    )
    yield figure(shown, "bars", caption, scene, lambda page: _paint(
        bars, _SHARES, "heads with the role, %", page, 100))  # fmt: skip


def last_models(models: Sequence[Model]) -> list[Model]:
    """Return each technique at its highest sparsity, and the dense model."""
    highest = {technique: sparsity for technique, sparsity in sorted(models, key=lambda m: m[1])}
    return [model for model in models if highest[model[0]] == model[1]]


def _of_measure(first: Quantity, title: str, rows: Sequence[Row], high: Any) -> Quantity:
    key = (first.key[0], "", "", "", "")
    return replace(first, key=key, title=title, limits=(0.0, high), rows=rows)


def _sums(rows: Sequence[Row]) -> dict[tuple[Model, str, str, str], float]:
    """Return model, part, role and statistic -> sum over heads, the mean over seeds."""
    sums: dict[tuple[Any, ...], float] = {}
    seeds: dict[Model, set[Any]] = {}
    for row in rows:
        model = model_of(row)
        seeds.setdefault(model, set()).add(row.get("seed"))
        key = (model, str(row["part"]), str(row["role"]), str(row["statistic"]))
        sums[key] = sums.get(key, 0.0) + float(row["value"])
    return {key: value / len(seeds[key[0]]) for key, value in sums.items()}


def _bars(quantity: Quantity, scene: Scene, by_kind: bool = False) -> Bars:
    """Return the bars of each panel; roles without a head are left out.

    Args:
        by_kind: whether kinds of attention have panels of their own in sweeps too, as shares of
            several kinds have no sum.
    """
    is_sweep = quantity.has("sparsity")
    sums = dict(sorted(_sums(quantity.rows).items(), key=lambda item: part_order(item[0][1])))
    having = {role for (_, _, role, name), value in sums.items() if name != "p" and value}
    bars: dict[str, dict[str, dict[str, float]]] = {}
    for model in quantity.models(scene):
        for (own, part, role, statistic), value in sums.items():
            if own != model or role not in having or (is_sweep and is_detail(role)):
                continue
            panel, label = part_text(part), role
            if is_sweep:
                panel = f"{role}, {panel}" if by_kind else role
                label = scene.label_of(model).replace("\n", ", ")
            cell = bars.setdefault(panel, {}).setdefault(label, {})
            cell[statistic] = cell.get(statistic, 0.0) + value
    return {panel: dict(list(own.items())[:_MOST]) for panel, own in bars.items()}


def _paint(
    bars: Bars, looks: Mapping[str, tuple[str, int]], axis: str, page: Size, factor: float = 1
) -> Figure:
    """Return a figure of horizontal bars, in both directions for changes, else side by side."""
    labels = list(dict.fromkeys(label for own in bars.values() for label in own))
    side = page.character * (2 + max(map(len, labels)))
    rows, columns = Size(max(page.width - side, 1), page.font).grid_of(len(bars), 9 * page.line)
    is_stacked = any(sign < 0 for _, sign in looks.values())
    height = rows * ((0.9 if is_stacked else 1.3) * len(labels) + 3) * page.line
    figure_ = page.new_figure(height + 4 * page.line)
    axes, _ = panels_of(figure_, len(bars), rows, columns)
    thick = 0.7 if is_stacked else 0.7 / len(looks)
    handles: dict[str, Any] = {}
    for (title, own), panel in zip(bars.items(), axes):
        for place, label in enumerate(labels):
            cell, end = own.get(label, {}), 0.0
            for number, (name, (colour, sign)) in enumerate(looks.items()):
                value = factor * cell.get(name, 0.0)
                at = place if is_stacked else place + (number - (len(looks) - 1) / 2) * thick
                start = end if is_stacked and sign > 0 else 0.0
                handles[name] = panel.barh(at, sign * value, thick, left=start, color=colour)
                end += value if sign > 0 else 0.0
                if name == "survivors" and cell.get("p", 1.0) < _LEVEL:
                    panel.text(value, at, " *", va="center", size=page.font)
        panel.set_title(title)
        panel.set_yticks(range(len(labels)), labels)
        panel.axvline(0, color=GREY, linewidth=0.08 * page.font)
        panel.grid(False)
        panel.grid(True, axis="x")
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    axes[0].xaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    figure_.supxlabel(axis, fontsize=page.font)
    legend_outside(figure_, [*handles.values()], [name.replace("-", " ") for name in handles], page,
                   side="upper")  # fmt: skip
    return figure_
