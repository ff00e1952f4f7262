"""Putting runs together: what shares a recipe shares tables, and nothing is ever mixed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import DENSE, Curve, Model, Score
from fairseq_lottery.records.plan import METRIC, ROWS, WEIGHTS, Plan, Stage
from fairseq_lottery.report.reading.comparability import check
from fairseq_lottery.report.reading.records import Run
from fairseq_lottery.report.reading.table_words import (
    WORDS,
    Cell,
    Evaluation,
    RowWords,
    name_of,
    percent,
    slug,
)

#: whose section shows the importance of heads, where there are several
_HOMES = ("heads", METRIC, "units", "blocks", WEIGHTS)
_RECORDS = ("scores", "curves", "models", "choices")


@dataclass(frozen=True)
class Group:
    """Runs of one recipe, and of their techniques those whose shares are of the same.

    Attributes:
        number, recipe_title: of the recipe, the same for all groups of it.
        title, slug: for people and for files; the slug is empty where there is one group only.
        rows: what the sparsities are a share of, one of ``ROWS``.
        techniques: name -> title in the order of the configurations, the dense model left out.
        sparsities: all that are planned or measured, above 0, from the most that is left:
            rising, but a share of the metric falls.
        seeds: all that are planned or measured.
        planned: the cells that were meant to be, the dense ones with them.
        tables: evaluation -> cell -> score, in the order of first appearance; its paths lead to
            the run's folder.
        curves: split and metric -> cell -> points by update.
        models: cell -> its first checkpoint, the file and what is recorded of it.
        choices: cell -> the file of the parts that it keeps.
        importance: measure and seed -> the file of the dense model's scores.
        trainings: cell -> the folder of the workflow, and the name of its training there.
        stages: folder of a workflow -> the stages of its plan.
    """

    number: int
    recipe_title: str
    title: str
    slug: str
    rows: str
    techniques: Mapping[str, str]
    sparsities: tuple[float, ...]
    seeds: tuple[int, ...]
    planned: frozenset[Cell]
    published: Optional[str]
    recipe: Mapping[str, Any]
    tables: Mapping[Evaluation, Mapping[Cell, Score]]
    curves: Mapping[tuple[str, str], Mapping[Cell, Sequence[Curve]]]
    models: Mapping[Cell, tuple[Path, Model]]
    choices: Mapping[Cell, Path]
    importance: Mapping[tuple[str, int], Path]
    trainings: Mapping[Cell, tuple[Path, str]]
    stages: Mapping[Path, Sequence[Stage]]

    @property
    def words(self) -> RowWords:
        """What its shares are called."""
        return WORDS[self.rows]

    def title_of(self, technique: str) -> str:
        """What a technique is called in tables."""
        return self.techniques.get(technique, technique)

    def label_of(self, share: float) -> str:
        """The first cell of a row; the dense model, of share 0, keeps all of its metric."""
        return percent(1.0 if self.rows == METRIC and not share else share)

    def file(self, name: str) -> str:
        """The name of a table's or plot's files; the group's own where there are several."""
        return f"{self.slug}-{name}" if self.slug else name

    def scores(self, evaluation: Evaluation, technique: str, sparsity: float) -> list[Score]:
        """What is recorded of one cell of a table, by seed."""
        cells = self.tables[evaluation]
        keys = [(technique, sparsity, seed) for seed in self.seeds]
        return [cells[key] for key in keys if key in cells]

    def values(self, evaluation: Evaluation, technique: str, sparsity: float) -> list[float]:
        """The scores of one cell of a table, one a seed."""
        return [score.score for score in self.scores(evaluation, technique, sparsity)]


def gather(runs: Iterable[Run]) -> list[Group]:
    """Group runs by recipe, and their techniques by what their shares are of.

    The dense model is in each group of its recipe.

    Raises:
        LotteryError: two runs give one cell different scores, or one table would mix
            signatures, numbers of sentences, references or what a technique's sparsity is a
            share of.
    """
    recipes: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([run.plan.recipe, run.plan.published], sort_keys=True)
        recipes.setdefault(key, []).append(run)
    titles = _titles([own[0].plan for own in recipes.values()])
    groups = []
    for number, (own, recipe) in enumerate(zip(recipes.values(), titles), 1):
        kinds = _kinds(own)
        home = min(kinds, key=_HOMES.index)
        for rows in kinds:
            names = [f"{number}-{slug(recipe)}"] if len(recipes) > 1 else []
            names += [rows] if len(kinds) > 1 else []
            title = f"{recipe}: {WORDS[rows].title}" if len(kinds) > 1 else recipe
            restricted = [_restricted(run, rows, rows == home) for run in own]
            groups.append(_group(restricted, number, recipe, title, "-".join(names), rows))
    return groups


def differing_entries(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each recipe the entries that are not the same in all, as text."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differing = [k for k in keys if len({json.dumps(r.get(k)) for r in recipes}) > 1]
    return [", ".join(f"{k} {r.get(k, 'not stated')}" for k in differing) for r in recipes]


def _titles(plans: Sequence[Plan]) -> list[str]:
    """The plans' titles, with what tells the recipes apart where titles are the same."""
    titles = []
    for plan in plans:
        same = [other.recipe for other in plans if other.title == plan.title]
        entries = differing_entries(same)[same.index(plan.recipe)]
        titles.append(f"{plan.title} ({entries})" if entries else plan.title)
    return titles


def _kinds(runs: Sequence[Run]) -> list[str]:
    """What the techniques' shares are of; with nothing but the dense model, weights."""
    found = set()
    for run in runs:
        names = {record.technique for kind in _RECORDS for record in getattr(run, kind)}
        names |= {one.name for one in run.plan.techniques}
        found |= {run.plan.rows_of(name) for name in names - {DENSE}}
    return [rows for rows in ROWS if rows in found] or [WEIGHTS]


def _restricted(run: Run, rows: str, home: bool) -> Run:
    """A run as if it had these techniques and the dense model only; at ``home``, importance."""

    def fits(technique: str) -> bool:
        return technique == DENSE or run.plan.rows_of(technique) == rows

    plan = run.plan
    records: dict[str, Any] = {
        k: tuple(r for r in getattr(run, k) if fits(r.technique)) for k in _RECORDS
    }
    return replace(
        run,
        plan=replace(
            plan,
            techniques=tuple(one for one in plan.techniques if fits(one.name)),
            cells=tuple(cell for cell in plan.cells if fits(cell.technique)),
        ),
        importance=run.importance if home else (),
        **records,
    )


def _group(
    runs: Sequence[Run], number: int, recipe_title: str, title: str, own_slug: str, rows: str
) -> Group:
    tables: dict[Evaluation, dict[Cell, Score]] = {}
    curves: dict[tuple[str, str], dict[Cell, dict[int, Curve]]] = {}
    models: dict[Cell, tuple[Path, Model]] = {}
    choices: dict[Cell, Path] = {}
    importance: dict[tuple[str, int], Path] = {}
    trainings: dict[Cell, tuple[Path, str]] = {}
    for run in runs:
        for score in run.scores:
            key, cell = Evaluation(score.subset, score.evaluation, score.metric), _cell(score)
            there = tables.setdefault(key, {}).setdefault(cell, _with_paths(score, run.folder))
            first, _ = trainings.setdefault(cell, (run.folder, score.training))
            if there.score != score.score:
                raise LotteryError(
                    f"{first} and {run.folder} both have {score.metric} of {name_of(cell)}"
                    f" ({score.evaluation}, {score.subset}), {there.score:.2f} and"
                    f" {score.score:.2f}; leave one of them out"
                )
        for curve in run.curves:
            points = curves.setdefault((curve.split, curve.metric), {})
            points.setdefault(_cell(curve), {}).setdefault(curve.update, curve)
        for model in run.models:
            models.setdefault(_cell(model), (run.folder / model.file, model))
        for choice in run.choices:
            choices.setdefault(_cell(choice), run.folder / choice.file)
        for scores in run.importance:
            importance.setdefault((scores.measure, scores.seed), run.folder / scores.file)
    for key, table in tables.items():
        check(f"{key.metric} ({key.evaluation}, {key.subset})", table)
    plans = [run.plan for run in runs]
    measured = {cell for table in tables.values() for cell in table}
    named = {one.name: one.title for plan in plans for one in plan.techniques}
    named.update({cell[0]: cell[0] for cell in sorted(measured) if cell[0] not in named})
    named.pop(DENSE, None)
    planned = set().union(*map(_planned, plans))
    everything = planned | measured | set(models) | set(choices)
    sparsities = {sparsity for _, sparsity, _ in everything if sparsity}
    return Group(
        number=number,
        recipe_title=recipe_title,
        title=title,
        slug=own_slug,
        rows=rows,
        techniques=named,
        sparsities=tuple(sorted(sparsities, reverse=rows == METRIC)),
        seeds=tuple(sorted({seed for *_, seed in everything})),
        planned=frozenset(planned),
        published=plans[0].published,
        recipe=plans[0].recipe,
        tables=tables,
        curves={
            key: {cell: [p for _, p in sorted(points.items())] for cell, points in found.items()}
            for key, found in curves.items()
        },
        models=models,
        choices=choices,
        importance=importance,
        trainings=trainings,
        stages={run.folder: run.plan.stages for run in runs},
    )


def _cell(record: Any) -> Cell:
    return record.technique, record.sparsity, record.seed


def _with_paths(score: Score, folder: Path) -> Score:
    hypotheses, references = (
        str(folder / path) if path else None for path in (score.hypotheses, score.references)
    )
    return replace(score, hypotheses=hypotheses, references=references)


def _planned(plan: Plan) -> set[Cell]:
    """The cells that a plan lists; else every technique at every sparsity, and the dense ones."""
    if plan.cells:
        return {_cell(cell) for cell in plan.cells}
    pruned = [one.name for one in plan.techniques if one.name != DENSE]
    cells = {(t, s, seed) for t in pruned for s in plan.sparsities if s for seed in plan.seeds}
    return cells | {(DENSE, 0.0, seed) for seed in plan.seeds}
