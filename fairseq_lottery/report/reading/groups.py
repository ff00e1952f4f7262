"""Putting runs together: what shares a recipe shares tables, and nothing is ever mixed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.report.reading.comparability import check
from fairseq_lottery.report.reading.families import Cell, Family, families, name_of, slug
from fairseq_lottery.report.reading.plans import METRIC, Plan
from fairseq_lottery.report.reading.records import DENSE, Curve, Model, Run, Score
from fairseq_lottery.report.reading.row_words import WORDS, Words

__all__ = ["Cell", "Evaluation", "Group", "gather", "slug"]


@dataclass(frozen=True, order=True)
class Evaluation:
    """What one table is about."""

    subset: str
    evaluation: str
    metric: str

    @property
    def slug(self) -> str:
        """A name for files."""
        return slug(f"{self.metric}-{self.subset}-{self.evaluation}")


@dataclass(frozen=True)
class Group:
    """Runs of one recipe, and of their techniques those whose shares are of the same.

    Attributes:
        number, recipe_title: of the recipe, the same for all groups of it.
        title, slug: for people and for files; the slug is empty where there is one group only.
        rows: what the sparsities are a share of, one of ``plans.ROWS``.
        techniques: name -> title in the order of the configurations, the dense model left out.
        sparsities: all that are planned or measured, above 0, from the most that is left:
            rising, but a share of the metric falls.
        seeds: all that are planned or measured.
        planned: the cells that were meant to be, the dense ones with them.
        tables: evaluation -> cell -> score, in the order of first appearance.
        curves: split and metric -> cell -> points by update.
        models: cell -> its first checkpoint, the file and what is recorded of it.
        files: evaluation and cell -> its hypotheses and references, None where not recorded.
        choices: cell -> the file of the parts that it keeps.
        importance: measure and seed -> the file of the dense model's scores.
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
    files: Mapping[tuple[Evaluation, Cell], tuple[Optional[Path], Optional[Path]]]
    curves: Mapping[tuple[str, str], Mapping[Cell, Sequence[Curve]]]
    models: Mapping[Cell, tuple[Path, Model]]
    choices: Mapping[Cell, Path]
    importance: Mapping[tuple[str, int], Path]

    @property
    def words(self) -> Words:
        """What its shares are called."""
        return WORDS[self.rows]

    def title_of(self, technique: str) -> str:
        """What a technique is called in tables."""
        return self.techniques.get(technique, technique)

    def file(self, name: str) -> str:
        """The name of a table's or plot's files; the group's own where there are several."""
        return f"{self.slug}-{name}" if self.slug else name

    def values(self, evaluation: Evaluation, technique: str, sparsity: float) -> list[float]:
        """The scores of one cell of a table, one a seed."""
        cells = self.tables[evaluation]
        found = (cells.get((technique, sparsity, seed)) for seed in self.seeds)
        return [score.score for score in found if score is not None]


def gather(runs: Iterable[Run]) -> list[Group]:
    """Group runs by recipe, and their techniques by what their shares are of.

    The dense model is in each group of its recipe.

    Raises:
        LotteryError: two runs give one cell different scores, or one table would mix
            signatures, numbers of sentences, references or what a technique's sparsity is a
            share of.
    """
    return [_group(family) for family in families(runs)]


def _group(family: Family) -> Group:
    tables: dict[Evaluation, dict[Cell, Score]] = {}
    files: dict[tuple[Evaluation, Cell], tuple[Optional[Path], Optional[Path]]] = {}
    curves: dict[tuple[str, str], dict[Cell, dict[int, Curve]]] = {}
    models: dict[Cell, tuple[Path, Model]] = {}
    origin: dict[tuple[Evaluation, Cell], Path] = {}
    choices: dict[Cell, Path] = {}
    importance: dict[tuple[str, int], Path] = {}
    for run in family.runs:
        for score in run.scores:
            key = Evaluation(score.subset, score.evaluation, score.metric)
            cell = (score.technique, score.sparsity, score.seed)
            there = tables.setdefault(key, {}).setdefault(cell, score)
            first = origin.setdefault((key, cell), run.folder)
            if there.score != score.score:
                raise LotteryError(
                    f"{first} and {run.folder} both have {score.metric} of {name_of(cell)}"
                    f" ({score.evaluation}, {score.subset}), {there.score:.2f} and"
                    f" {score.score:.2f}; leave one of them out"
                )
            paths = (score.hypotheses, score.references)
            hypotheses, references = (run.folder / path if path else None for path in paths)
            files.setdefault((key, cell), (hypotheses, references))
        for curve in run.curves:
            cell = (curve.technique, curve.sparsity, curve.seed)
            points = curves.setdefault((curve.split, curve.metric), {}).setdefault(cell, {})
            points.setdefault(curve.update, curve)
        for model in run.models:
            cell = (model.technique, model.sparsity, model.seed)
            models.setdefault(cell, (run.folder / model.file, model))
        for choice in run.choices:
            cell = (choice.technique, choice.sparsity, choice.seed)
            choices.setdefault(cell, run.folder / choice.file)
        for scores in run.importance:
            importance.setdefault((scores.measure, scores.seed), run.folder / scores.file)
    for key, table in tables.items():
        where = f"{key.metric} ({key.evaluation}, {key.subset})"
        check(where, table, {cell: files[key, cell][1] for cell in table})
    plans = [run.plan for run in family.runs]
    measured = {cell for table in tables.values() for cell in table}
    named = {name: title for plan in plans for name, title in plan.techniques.items()}
    named.update({cell[0]: cell[0] for cell in sorted(measured) if cell[0] not in named})
    named.pop(DENSE, None)
    planned = set().union(*map(_planned, plans))
    everything = planned | measured | set(models) | set(choices)
    sparsities = {sparsity for _, sparsity, _ in everything if sparsity}
    return Group(
        number=family.number,
        recipe_title=family.recipe,
        title=family.title,
        slug=family.slug,
        rows=family.rows,
        techniques=named,
        sparsities=tuple(sorted(sparsities, reverse=family.rows == METRIC)),
        seeds=tuple(sorted({seed for *_, seed in everything})),
        planned=frozenset(planned),
        published=plans[0].published,
        recipe=plans[0].recipe,
        tables=tables,
        files=files,
        curves={
            key: {cell: [p for _, p in sorted(points.items())] for cell, points in found.items()}
            for key, found in curves.items()
        },
        models=models,
        choices=choices,
        importance=importance,
    )


def _planned(plan: Plan) -> set[Cell]:
    """The cells that a plan lists; else every technique at every sparsity, and the dense ones."""
    if plan.cells is not None:
        return set(plan.cells)
    pruned = [name for name in plan.techniques if name != DENSE]
    cells = {(t, s, seed) for t in pruned for s in plan.sparsities if s for seed in plan.seeds}
    return cells | {(DENSE, 0.0, seed) for seed in plan.seeds}
