"""Figures of roles: how many heads have each by sparsity, and which heads of a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.report.curve_figures import axis_note, draw_curves
from fairseq_lottery.analysis.report.heat_map_figures import (
    Panels,
    draw_panels,
    head_grid,
    head_places,
    head_ticks,
)
from fairseq_lottery.analysis.report.quantities import Model, Quantity, Scene, values_of
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.report.plots.drawings import Drawing

#: statistic of rows that say whether a head has a role, 1 or 0
HAS_ROLE = "has-role"
#: statistic of rows that have the share of models in which a head has a role
MODELS = "models"
#: measure of the roles that heads gain, keep and lose
CHANGES = "role-changes"
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
    for model in _last(whole.models(scene)):
        own = whole.only(row for row in rows if _is_of(row, model))
        places, values = head_places(own.rows), values_of(own.rows, "role", "part", "layer", "head")
        grids = []
        for role in roles:
            by_head = {(m, *place): v for (m, r, *place), v in values.items() if r == role}
            grids.append((role, head_grid(by_head, model, places, own.rows)))
        columns, ticks = head_ticks(places, own.rows)
        title = scene.label_of(model) or "the model"
        caption = (
            f"{replace(own, title=f'Heads of {title} that have a role').about}, a panel per role:"
            " the share of seeds in which a head has it; a row per layer and a column per head,"
            " from 1; white where no head is, where it is pruned, or where the role does not apply."
        )
        name = "-".join(filter(None, ("heads", model[0], f"{model[1]:g}" if model[1] else "")))
        panels = Panels(grids, columns, ticks)
        yield draw_panels(own, name, caption, scene, panels, True, False, ends=(0.0, 1.0))


def change_figures(quantities: Sequence[Quantity], scene: Scene) -> Iterator[Drawing]:
    """Yield the figure of the heads that keep their roles, by sparsity, if there are any.

    Args:
        quantities: the quantities of ``CHANGES`` against one technique.
    """
    kept = kept_shares([row for one in quantities for row in one.rows])
    if not any("sparsity" in row for row in kept):
        return
    first = quantities[0]
    title = f"heads that keep a role of the {first.relation} model"
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

    It is of the heads that had the role before; a role that no head had is left out.
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


def _is_of(row: Mapping[str, Any], model: Model) -> bool:
    return (row.get("technique", ""), row.get("sparsity", 0.0)) == model


def _last(models: Sequence[Model]) -> list[Model]:
    """Return each technique at its highest sparsity, and the dense model."""
    highest = {technique: sparsity for technique, sparsity in sorted(models, key=lambda m: m[1])}
    return [model for model in models if highest[model[0]] == model[1]]
