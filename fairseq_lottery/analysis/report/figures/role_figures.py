"""Figures of roles: how many heads have each by sparsity, and which heads of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.figures.curve_figures import axis_note, draw_curves
from fairseq_lottery.analysis.report.figures.heat_map_figures import (
    HEAD_AXES,
    MOST_PANELS,
    Panels,
    draw_panels,
    head_grid,
    head_places,
    head_ticks,
)
from fairseq_lottery.analysis.report.figures.role_bars import CHANGES, change_bars, last_models
from fairseq_lottery.analysis.report.quantities import (
    Model,
    Quantity,
    Scene,
    mean_of,
    model_of,
    values_of,
)
from fairseq_lottery.analysis.roles.role_table import role_signs
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Drawing

#: statistic of rows that say whether a head has a role, 1 or 0
HAS_ROLE = "has-role"
#: statistic of rows that have the share of models in which a head has a role
MODELS = "models"
#: most roles of a figure
_ROLES = 24


def role_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield the figures of the roles of one measure.

    Args:
        quantities: its quantities with the statistic ``has-role``, one per role.
    """
    rows = [row for one in quantities for row in one.rows if "head" in row]
    tested = list(dict.fromkeys(str(row["role"]) for row in rows))
    existing = {str(row["role"]) for row in rows if row["value"]}
    roles = [role for role in tested if role in existing][:_ROLES]
    if not roles:
        return
    absent = ", ".join(role for role in tested if role not in existing)
    # labelled in rows of their own: roles may have different thresholds
    rows = [row for row in rows if row["role"] in roles]
    first = quantities[0]
    measure = (first.key[0], "", "roles", "", "")
    whole = Quantity(measure, "heads with a role", (0.0, 1.0), first.relation, rows, first.words)
    if any(row.get("technique", DENSE) != DENSE and "sparsity" in row for row in rows):
        counted = whole.only(shares(rows))
        caption = (
            f"{counted.about}: the share of all heads to which it applies, by sparsity, with a"
            " panel per role and a line per technique, mean and standard deviation over seeds. A"
            f" head may have several roles; pruned heads have none.{axis_note(scene)} The dashed"
            f" line is the dense model.{f' No head of any model has: {absent}.' if absent else ''}"
        )
        yield draw_curves(counted, "by-sparsity", caption, scene)
    yield from _sign_maps(whole, scene)
    if scene.is_report:
        return
    for model in last_models(whole.models(scene)):
        yield _role_maps(whole.only(row for row in rows if model_of(row) == model), roles, scene)


def _sign_maps(whole: Quantity, scene: Scene) -> Iterator[Drawing]:
    """Yield a grid of the heads of all models, each with the signs of its roles."""
    signs = role_signs(dict.fromkeys(str(row["role"]) for row in whole.rows))
    shown = whole.only(row for row in whole.rows if row["role"] in signs)
    models = last_models(shown.models(scene))[:MOST_PANELS]
    if not signs or not models:
        return
    places = head_places(shown.rows)
    by_role = values_of(shown.rows, "part", "layer", "head", "role")
    counted: dict[tuple[Any, ...], list[float]] = {}
    having: dict[tuple[Any, ...], str] = {}
    for role, sign in signs.items():
        for (*head, of_role), values in by_role.items():
            if of_role == role:
                share = mean_of(values)
                key = tuple(head)
                counted[key] = [counted.get(key, [0.0])[0] + share]
                having[key] = having.get(key, "") + (sign if share >= 0.5 else "")
    grids, texts = [], []
    for model in models:
        grids.append((scene.label_of(model), head_grid(counted, model, places, shown.rows)))
        texts.append(_texts(having, model, places, len(grids[-1][1])))
    columns, ticks = head_ticks(places, shown.rows)
    words = ", ".join(f"{sign} {role}" for role, sign in signs.items())
    caption = (
        f"{shown.about}: how many roles each head has (colour, the mean over seeds), and which"
        f" (letters, in at least half of the seeds): {words}. A row per layer and a column per"
        " head, from 1; white where no head is, or where it is pruned."
    )
    if any(sparsity for _, sparsity in models):
        caption += " Each technique is shown at its highest sparsity."
    whole_scale = (0.0, max(2.0, *(own[0] for own in counted.values())))
    counts = replace(shown, title="number of roles", limits=(0.0, None))
    panels = Panels(grids, columns, ticks, HEAD_AXES, texts)
    height = 0.9 * scene.page.line
    yield draw_panels(
        counts, "signs", caption, scene, panels, True, row_height=height, ends=whole_scale
    )


def _texts(
    having: Mapping[tuple[Any, ...], str],
    model: Model,
    places: Mapping[str, tuple[int, int]],
    layers: int,
) -> list[list[str]]:
    """Return the signs of the heads of a model, in the cells of ``head_grid``."""
    wide = 1 + max(last for _, last in places.values())
    cells = [[""] * wide for _ in range(layers)]
    for (own, part, layer, head), text in having.items():
        if own == model:
            short = text if len(text) <= 3 else f"{text[:2]}+"
            cells[layer - 1][places[part][0] + head - 1] = short
    return cells


def _role_maps(own: Quantity, roles: Sequence[str], scene: Scene) -> Drawing:
    """Plot the heads of a model, with a panel per role."""
    model = model_of(own.rows[0])
    places, values = head_places(own.rows), values_of(own.rows, "role", "part", "layer", "head")
    grids = []
    for role in roles:
        by_head = {(m, *place): v for (m, r, *place), v in values.items() if r == role}
        grids.append((role, head_grid(by_head, model, places, own.rows)))
    title = scene.label_of(model) or "the model"
    caption = (
        f"{replace(own, title=f'Heads of {title} that have a role').about}, a panel per role:"
        " the share of seeds in which a head has it; a row per layer and a column per head,"
        " from 1; white where no head is, where it is pruned, or where the role does not apply."
    )
    name = "-".join(filter(None, ("heads", model[0], f"{model[1]:g}" if model[1] else "")))
    panels = Panels(grids, *head_ticks(places, own.rows), HEAD_AXES)
    return draw_panels(own, name, caption, scene, panels, True, False, ends=(0.0, 1.0))


def change_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield bars of all changes, and in a sweep the share of heads that keep roles by sparsity.

    Args:
        quantities: the quantities of ``CHANGES`` against one technique.
    """
    yield from change_bars(quantities, scene)
    kept = kept_shares([row for one in quantities for row in one.rows])
    if not any("sparsity" in row for row in kept):
        return
    first = quantities[0]
    title = "heads that keep a role"
    key = (CHANGES, "", "kept", "", "")
    whole = Quantity(key, title, (0.0, 1.0), first.relation, kept, first.words)
    caption = (
        f"{whole.about}: their share of the heads that had the role, by sparsity, with a panel per"
        " role and a line per technique, mean and standard deviation over seeds. A pruned head has"
        f" lost its roles.{axis_note(scene)}"
    )
    yield draw_curves(whole, "by-sparsity", caption, scene)


def kept_shares(rows: Sequence[Row]) -> list[Row]:
    """Return the share of heads that keep each role, of each model and seed; ``part`` is the role.

    Heads without the role before do not count. A role that no head had has no row.
    """
    counts: dict[tuple[Any, ...], list[bool]] = {}
    for row in rows:
        if row["statistic"] in ("kept", "lost"):
            model = tuple((n, row[n]) for n in ("technique", "sparsity", "seed") if n in row)
            counts.setdefault((model, row["role"]), []).append(row["statistic"] == "kept")
    shown = list(dict.fromkeys(role for _, role in counts))[:_ROLES]
    return [
        {"part": role, **dict(model), "value": sum(own) / len(own)}
        for (model, role), own in counts.items()
        if role in shown
    ]


def shares(rows: Sequence[Row]) -> list[Row]:
    """Return the share of heads with each role, of each model and seed; ``part`` is the role.

    A share is of all heads to which the role applies in any model.
    """
    counts: dict[tuple[Any, ...], list[float]] = {}
    heads: dict[Any, set[tuple[Any, ...]]] = {}
    for row in rows:
        model = tuple((n, row[n]) for n in ("technique", "sparsity", "seed") if n in row)
        counts.setdefault((model, row["role"]), []).append(float(row["value"]))
        heads.setdefault(row["role"], set()).add((row["part"], row["layer"], row["head"]))
    return [
        {"part": role, **dict(model), "value": math.fsum(own) / len(heads[role])}
        for (model, role), own in counts.items()
    ]
