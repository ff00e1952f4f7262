"""Putting runs together: what shares a recipe shares tables, and nothing is ever mixed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.report.records import DENSE, Curve, Model, Plan, Run, Score

#: technique, sparsity, seed
Cell = tuple[str, float, int]


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
    """Runs of one recipe.

    Attributes:
        title, slug: for people and for files; the slug is empty where there is one group only.
        techniques: name -> title in the order of the configurations, the dense model left out.
        sparsities: all that are planned or measured, above 0, rising.
        seeds: all that are planned or measured.
        planned: the cells that were meant to be, the dense ones with them.
        tables: evaluation -> cell -> score, in the order of first appearance.
        curves: split and metric -> cell -> points by update.
        models: cell -> its first checkpoint, the file and what is recorded of it.
        files: evaluation and cell -> its hypotheses and references, None where not recorded.
    """

    title: str
    slug: str
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


def slug(text: str) -> str:
    """Letters, digits and hyphens of ``text``, lower case; LaTeX wants no dots in file names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def gather(runs: Iterable[Run]) -> list[Group]:
    """Group runs by recipe.

    Raises:
        LotteryError: two runs give one cell different scores, or one table would mix
            signatures, numbers of sentences, references or what a technique's sparsity is a
            share of.
    """
    families: dict[str, list[Run]] = {}
    for run in runs:
        key = json.dumps([run.plan.recipe, run.plan.published], sort_keys=True)
        families.setdefault(key, []).append(run)
    titles = _titles(list(families.values()))
    slugs = [""] if len(families) == 1 else [f"{n}-{slug(t)}" for n, t in enumerate(titles, 1)]
    return [_group(*each) for each in zip(families.values(), titles, slugs)]


def _titles(families: list[list[Run]]) -> list[str]:
    """The plans' titles, with what tells the recipes apart where titles are the same."""
    plans = [family[0].plan for family in families]
    titles = []
    for plan in plans:
        same = [other for other in plans if other.title == plan.title]
        keys = sorted({key for other in same for key in other.recipe})
        telling = [k for k in keys if len({json.dumps(o.recipe.get(k)) for o in same}) > 1]
        entries = ", ".join(f"{key} {plan.recipe.get(key, 'not stated')}" for key in telling)
        titles.append(f"{plan.title} ({entries})" if entries else plan.title)
    return titles


def _group(runs: list[Run], title: str, name: str) -> Group:
    tables: dict[Evaluation, dict[Cell, Score]] = {}
    files: dict[tuple[Evaluation, Cell], tuple[Optional[Path], Optional[Path]]] = {}
    curves: dict[tuple[str, str], dict[Cell, dict[int, Curve]]] = {}
    models: dict[Cell, tuple[Path, Model]] = {}
    origin: dict[tuple[Evaluation, Cell], Path] = {}
    for run in runs:
        for score in run.scores:
            key = Evaluation(score.subset, score.evaluation, score.metric)
            cell = (score.technique, score.sparsity, score.seed)
            there = tables.setdefault(key, {}).setdefault(cell, score)
            first = origin.setdefault((key, cell), run.folder)
            if there.score != score.score:
                raise LotteryError(
                    f"{first} and {run.folder} both have {score.metric} of {_name(cell)}"
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
    for key, table in tables.items():
        _check(key, table, {cell: files[key, cell][1] for cell in table})
    plans = [run.plan for run in runs]
    measured = {cell for table in tables.values() for cell in table}
    named = {name: title for plan in plans for name, title in plan.techniques.items()}
    named.update({cell[0]: cell[0] for cell in sorted(measured) if cell[0] not in named})
    named.pop(DENSE, None)
    planned = set().union(*map(_planned, plans))
    everything = planned | measured | set(models)
    return Group(
        title=title,
        slug=name,
        techniques=named,
        sparsities=tuple(sorted({sparsity for _, sparsity, _ in everything if sparsity})),
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
    )


def _planned(plan: Plan) -> set[Cell]:
    """The cells that a plan lists; else every technique at every sparsity, and the dense ones."""
    if plan.cells is not None:
        return set(plan.cells)
    pruned = [name for name in plan.techniques if name != DENSE]
    cells = {(t, s, seed) for t in pruned for s in plan.sparsities if s for seed in plan.seeds}
    return cells | {(DENSE, 0.0, seed) for seed in plan.seeds}


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise LotteryError(f"the references {path} cannot be read: {error.strerror}") from error


def _name(cell: Cell) -> str:
    technique, sparsity, seed = cell
    return f"{technique} at {sparsity:.4g}, seed {seed}"


def _check(
    key: Evaluation, table: Mapping[Cell, Score], references: Mapping[Cell, Optional[Path]]
) -> None:
    """Refuse a table whose numbers cannot stand side by side."""
    where = f"{key.metric} ({key.evaluation}, {key.subset})"
    signatures: dict[Optional[str], Cell] = {}
    texts: dict[str, Cell] = {}
    counts: dict[int, Cell] = {}
    shares: dict[tuple[str, float, Optional[str]], Cell] = {}
    known: dict[Path, str] = {}
    for cell, score in table.items():
        signatures.setdefault(score.signature, cell)
        if score.sentences is not None:
            counts.setdefault(score.sentences, cell)
        path = references[cell]
        if path is not None and is_plain(path):
            if path not in known:
                known[path] = _digest(path)
            texts.setdefault(known[path], cell)
        shares.setdefault((score.technique, score.sparsity, score.denominator), cell)
    if len(signatures) > 1:
        (one, a), (two, b) = list(signatures.items())[:2]
        raise LotteryError(
            f"{where} of {_name(a)} is signed {one} and of {_name(b)} {two}; report them apart"
        )
    if len(counts) > 1:
        (fewer, a), (more, b) = sorted(counts.items())[:2]
        raise LotteryError(
            f"{where} of {_name(a)} is over {fewer:,} sentences and of {_name(b)} over {more:,}; a"
            " score over a part of the test set is not comparable"
        )
    if len(texts) > 1:
        a, b = list(texts.values())[:2]
        raise LotteryError(
            f"{where} of {_name(a)} and of {_name(b)} have different references; report them apart"
        )
    for technique, sparsity, denominator in shares:
        others = {d for t, s, d in shares if (t, s) == (technique, sparsity)} - {denominator}
        if others:
            raise LotteryError(
                f"{where}: the sparsity {sparsity:.4g} of {technique} is a share of {denominator}"
                f" in one run and of {others.pop()} in another; report them apart"
            )
