"""Which runs and techniques belong together: by recipe, and by what their shares are of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Union

from fairseq_lottery.report.reading.plans import METRIC, ROWS, WEIGHTS
from fairseq_lottery.report.reading.records import DENSE, Choice, Curve, Model, Run, Score
from fairseq_lottery.report.reading.row_words import WORDS

#: technique, sparsity, seed
Cell = tuple[str, float, int]
#: whose section shows the importance of heads, where there are several
_HOMES = ("heads", METRIC, "units", "blocks", WEIGHTS)


@dataclass(frozen=True)
class Family:
    """Runs of one recipe, with those techniques whose shares are of the same, and the dense model.

    Attributes:
        number, recipe: of the recipe, from 1, and what it is called.
        title, slug: of the family; the slug is empty where there is one family only.
        rows: what the shares are of, one of ``ROWS``.
        runs: with records of these techniques and of the dense model only.
    """

    number: int
    recipe: str
    title: str
    slug: str
    rows: str
    runs: tuple[Run, ...]


def families(runs: Iterable[Run]) -> list[Family]:
    """Runs of one recipe, and in it one family for each thing that shares are of."""
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([run.plan.recipe, run.plan.published], sort_keys=True)
        recipes.setdefault(key, []).append(run)
    found = []
    for number, (own, recipe) in enumerate(zip(recipes.values(), _titles([*recipes.values()])), 1):
        kinds = _kinds(own)
        home = min(kinds, key=_HOMES.index)
        for rows in kinds:
            several = len(kinds) > 1
            names = [f"{number}-{slug(recipe)}"] if len(recipes) > 1 else []
            found.append(
                Family(
                    number=number,
                    recipe=recipe,
                    title=f"{recipe}: {WORDS[rows].title}" if several else recipe,
                    slug="-".join([*names, *([rows] if several else [])]),
                    rows=rows,
                    runs=tuple(_restricted(run, rows, rows == home) for run in own),
                )
            )
    return found


def slug(text: str) -> str:
    """Letters, digits and hyphens of ``text``, lower case; LaTeX wants no dots in file names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def name_of(cell: Cell) -> str:
    """A cell in a sentence."""
    technique, sparsity, seed = cell
    return f"{technique} at {sparsity:.4g}, seed {seed}"


def _kinds(runs: list[Run]) -> list[str]:
    """What the techniques' shares are of; with nothing but the dense model, weights."""
    found = set()
    for run in runs:
        records: list[Union[Score, Curve, Model, Choice]]
        records = [*run.scores, *run.curves, *run.models, *run.choices]
        named = {*run.plan.techniques, *(record.technique for record in records)} - {DENSE}
        found |= {run.plan.rows.get(name, WEIGHTS) for name in named}
    return [rows for rows in ROWS if rows in found] or [WEIGHTS]


def _restricted(run: Run, rows: str, home: bool) -> Run:
    """A run as if it had these techniques and the dense model only; at ``home``, importance."""

    def fits(technique: str) -> bool:
        return technique == DENSE or run.plan.rows.get(technique, WEIGHTS) == rows

    plan, cells = run.plan, run.plan.cells
    return replace(
        run,
        plan=replace(
            plan,
            techniques={name: title for name, title in plan.techniques.items() if fits(name)},
            cells=None if cells is None else frozenset(cell for cell in cells if fits(cell[0])),
        ),
        scores=tuple(record for record in run.scores if fits(record.technique)),
        curves=tuple(record for record in run.curves if fits(record.technique)),
        models=tuple(record for record in run.models if fits(record.technique)),
        choices=tuple(record for record in run.choices if fits(record.technique)),
        importance=run.importance if home else (),
    )


def _titles(recipes: list[list[Run]]) -> list[str]:
    """The plans' titles, with what tells the recipes apart where titles are the same."""
    plans = [runs[0].plan for runs in recipes]
    titles = []
    for plan in plans:
        same = [other for other in plans if other.title == plan.title]
        keys = sorted({key for other in same for key in other.recipe})
        telling = [k for k in keys if len({json.dumps(o.recipe.get(k)) for o in same}) > 1]
        entries = ", ".join(f"{key} {plan.recipe.get(key, 'not stated')}" for key in telling)
        titles.append(f"{plan.title} ({entries})" if entries else plan.title)
    return titles
