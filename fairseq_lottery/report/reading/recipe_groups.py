"""Group runs by recipe; only runs of one recipe share tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.records.cells import DENSE, Cost, Curve, Model, Score
from fairseq_lottery.records.plan import METRIC, WEIGHTS, Stage
from fairseq_lottery.report.reading.comparability import check
from fairseq_lottery.report.reading.data_sets import split
from fairseq_lottery.report.reading.planned_cells import (
    cell_key,
    is_of,
    kinds_of,
    planned_cells,
)
from fairseq_lottery.report.reading.recipe_titles import recipe_titles
from fairseq_lottery.report.reading.records import DataSet, Run
from fairseq_lottery.report.reading.table_words import (
    LOSSES,
    SACREBLEU,
    WORDS,
    Cell,
    Evaluation,
    RowWords,
    name_of,
    percent,
    slug,
)

#: preference of sections for the importance of heads
_HOMES = ("heads", METRIC, "units", "blocks", WEIGHTS)


@dataclass(frozen=True)
class Group:
    """Runs of one recipe, with the techniques whose shares are of the same quantity.

    Attributes:
        number, recipe_title: number and title of the recipe, shared by its groups.
        title, slug: title, and prefix of file names; the slug is empty for a single group.
        rows: the quantity whose share a sparsity gives, one of ``ROWS``.
        techniques: name -> title in the order of the configurations, without the dense model.
        sparsities: all planned or measured ones above 0, increasing; shares of the metric
            decrease.
        seeds: all planned or measured seeds.
        planned: all planned cells, including dense ones.
        tables: evaluation -> cell -> score, in order of first appearance; paths include the
            run's folder.
        curves: split and metric -> cell -> points by update.
        models: cell -> file and record of its first checkpoint.
        choices: cell -> file of its component choice.
        importance: measure and seed -> file of the dense model's scores.
        trainings: cell -> folder of the workflow, and the name of its training.
        stages: folder of a workflow -> stages of its plan.
        costs: cell -> training behind it, for cells whose trainings were counted.
        data_set: the group's data set, if its plan has several.
        sources: technique -> data set whose masks it takes, for those that take any.
        keeps_start: cells whose survivors start from pre-trained weights as they are.
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
    costs: Mapping[Cell, Cost]
    data_set: Optional[DataSet] = None
    sources: Mapping[str, str] = field(default_factory=dict)
    keeps_start: frozenset[Cell] = frozenset()

    @property
    def words(self) -> RowWords:
        """Words for the group's shares."""
        return WORDS[self.rows]

    def title_of(self, technique: str) -> str:
        """Return the title of a technique in tables."""
        return self.techniques.get(technique, technique)

    def label_of(self, share: float) -> str:
        """Return the label of a row; the dense model, of share 0, keeps 100 % of the metric."""
        return percent(1.0 if self.rows == METRIC and not share else share)

    def file(self, name: str) -> str:
        """Return the file name of a table or plot, with the prefix of the group."""
        return f"{self.slug}-{name}" if self.slug else name

    def scores(self, evaluation: Evaluation, technique: str, sparsity: float) -> list[Score]:
        """Return the records of one cell of a table, by seed."""
        cells = self.tables[evaluation]
        keys = [(technique, sparsity, seed) for seed in self.seeds]
        return [cells[key] for key in keys if key in cells]

    def values(self, evaluation: Evaluation, technique: str, sparsity: float) -> list[float]:
        """Return the scores of one cell of a table, one for each seed."""
        return [score.score for score in self.scores(evaluation, technique, sparsity)]

    def most_seeds(self, evaluation: Evaluation) -> int:
        """Return the maximum number of seeds of a cell of a table."""
        return max(len(self.values(evaluation, *cell[:2])) for cell in self.tables[evaluation])

    def decimals(self, evaluation: Evaluation) -> int:
        """Return 1 for metrics from 0 to 100, as sacreBLEU's; 3 for losses and metrics around 1.

        Metrics with a known direction are losses, or in percent.
        """
        if evaluation.metric in LOSSES:
            return 3
        if evaluation.maximise is not None and evaluation.metric not in SACREBLEU:
            return 1 if evaluation.maximise else 3
        scores = (abs(score.score) for score in self.tables[evaluation].values())
        return 3 if evaluation.metric not in SACREBLEU and max(scores) <= 1.5 else 1


def gather(runs: Iterable[Run]) -> list[Group]:
    """Group runs by recipe and data set, and their techniques by the quantity of their shares.

    The dense model is in each group of its recipe.

    Raises:
        LotteryError: two runs have different scores of one cell, or one table would mix
            signatures, directions, numbers of sentences or examples, references, or prunable sets
            of a technique.
    """
    recipes: dict[str, list[Run]] = {}
    for run in (part for whole in runs for part in split(whole)):
        own = [] if run.data_set is None else [run.data_set.plan, run.data_set.name]
        key = json.dumps([run.plan.recipe, run.plan.published, own], sort_keys=True)
        recipes.setdefault(key, []).append(run)
    titles = recipe_titles([recipe_runs[0].plan for recipe_runs in recipes.values()])
    groups = []
    for number, (recipe_runs, recipe) in enumerate(zip(recipes.values(), titles), 1):
        kinds = kinds_of(recipe_runs)
        home = min(kinds, key=_HOMES.index)
        data_set = recipe_runs[0].data_set
        prefix = f"{number}-{slug(recipe if data_set is None else data_set.name)}"
        for rows in kinds:
            names = [prefix] if len(recipes) > 1 else []
            names += [rows] if len(kinds) > 1 else []
            title = f"{recipe}: {WORDS[rows].title}" if len(kinds) > 1 else recipe
            group = _group(recipe_runs, number, recipe, title, "-".join(names), rows)
            groups.append(group if rows == home else replace(group, importance={}))
    return groups


def _group(
    runs: Sequence[Run], number: int, recipe_title: str, title: str, prefix: str, rows: str
) -> Group:
    tables: dict[Evaluation, dict[Cell, Score]] = {}
    curves: dict[tuple[str, str], dict[Cell, dict[int, Curve]]] = {}
    models: dict[Cell, tuple[Path, Model]] = {}
    choices: dict[Cell, Path] = {}
    importance: dict[tuple[str, int], Path] = {}
    trainings: dict[Cell, tuple[Path, str]] = {}
    costs: dict[Cell, Cost] = {}
    planned: set[Cell] = set()
    directions = _directions(runs)
    for run in runs:
        fits = is_of(run.plan, rows)
        planned |= {cell for cell in planned_cells(run.plan) if fits(cell[0])}
        for score in (each for each in run.scores if fits(each.technique)):
            key, cell = _evaluation(score), cell_key(score)
            key = replace(key, maximise=directions.get(key))
            first = tables.setdefault(key, {}).setdefault(cell, _with_paths(score, run.folder))
            folder, _ = trainings.setdefault(cell, (run.folder, score.training))
            if first.score != score.score:
                raise LotteryError(
                    f"{folder} and {run.folder} both have {score.metric} of {name_of(cell)}"
                    f" ({score.evaluation}, {score.subset}), {first.score:.2f} and"
                    f" {score.score:.2f}; omit one of them"
                )
        for curve in (each for each in run.curves if fits(each.technique)):
            points = curves.setdefault((curve.split, curve.metric), {})
            points.setdefault(cell_key(curve), {}).setdefault(curve.update, curve)
        for model in (each for each in run.models if fits(each.technique)):
            models.setdefault(cell_key(model), (run.folder / model.file, model))
        for choice in (each for each in run.choices if fits(each.technique)):
            choices.setdefault(cell_key(choice), run.folder / choice.file)
        for cost in (each for each in run.costs if fits(each.technique)):
            costs.setdefault(cell_key(cost), cost)
        for scores in run.importance:
            importance.setdefault((scores.measure, scores.seed), run.folder / scores.file)
    for key, table in tables.items():
        check(f"{key.metric} ({key.evaluation}, {key.subset})", table)
    measured = {cell for table in tables.values() for cell in table}
    own = [item for run in runs for item in run.plan.techniques if item.rows == rows]
    techniques = {item.name: item.title for item in own}
    techniques.update({cell[0]: cell[0] for cell in sorted(measured) if cell[0] not in techniques})
    techniques.pop(DENSE, None)
    cells = planned | measured | set(models) | set(choices)
    sparsities = {sparsity for _, sparsity, _ in cells if sparsity}
    return Group(
        number=number,
        recipe_title=recipe_title,
        title=title,
        slug=prefix,
        rows=rows,
        techniques=techniques,
        sparsities=tuple(sorted(sparsities, reverse=rows == METRIC)),
        seeds=tuple(sorted({seed for *_, seed in cells})),
        planned=frozenset(planned),
        published=runs[0].plan.published,
        recipe=runs[0].plan.recipe,
        tables=tables,
        curves={
            key: {cell: [p for _, p in sorted(points.items())] for cell, points in lines.items()}
            for key, lines in curves.items()
        },
        models=models,
        choices=choices,
        importance=importance,
        trainings=trainings,
        stages={run.folder: run.plan.stages for run in runs},
        costs=costs,
        data_set=runs[0].data_set,
        sources={item.name: item.source for item in own if item.source is not None},
        keeps_start=frozenset(
            cell_key(cell) for run in runs for cell in run.plan.cells if cell.keeps_start
        ),
    )


def _evaluation(score: Score) -> Evaluation:
    return Evaluation(score.subset, score.evaluation, score.metric)


def _directions(runs: Iterable[Run]) -> dict[Evaluation, bool]:
    """Return whether larger scores are better, where a record states it."""
    scores = (score for run in runs for score in run.scores)
    return {_evaluation(s): s.maximise for s in scores if s.maximise is not None}


def _with_paths(score: Score, folder: Path) -> Score:
    hypotheses, references = (
        str(folder / path) if path else None for path in (score.hypotheses, score.references)
    )
    return replace(score, hypotheses=hypotheses, references=references)
