"""The plan: all cells of the table, and the distinct trainings that they depend on."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import sha256_of
from fairseq_lottery.options import Prunable, Reset, options
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.workflow.planning.budgets import budget_factor, refuse_other_total, scale
from fairseq_lottery.workflow.planning.training_checks import refuse_impossible
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import Cells
from fairseq_lottery.workflow.trainings.train_flags import Flags
from fairseq_lottery.workflow.trainings.training import Training, Weights
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary


@dataclass(frozen=True)
class Cell:
    """One cell of a table: technique, sparsity and seed, and the training behind it.

    Attributes:
        data: name of the data set; empty if the plan has only one.
    """

    technique: str
    sparsity: float
    seed: int
    training: Training
    data: str = ""

    @property
    def name(self) -> str:
        """Name in ``--only`` and messages."""
        data_set = f"{self.data}:" if self.data else ""
        return f"{data_set}{self.technique}@{self.sparsity:g}#{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All cells, and the distinct trainings behind them, parents first.

    Attributes:
        configuration: that of the first data set, which has the settings of the whole plan.
    """

    configuration: Configuration
    cells: tuple[Cell, ...]
    trainings: tuple[Training, ...]

    def configuration_of(self, training: Training) -> Configuration:
        """Return the configuration of a training's data set."""
        sets = self.configuration.data_sets
        return next((c for c in sets if c.data_name == training.data), self.configuration)

    @property
    def trained(self) -> int:
        """Number of trainings, without models that are pruned and not trained."""
        return sum(training.updates > 0 for training in self.trainings)

    @property
    def unshared(self) -> int:
        """Number of trainings if cells did not share any."""
        distinct = dict.fromkeys(cell.training for cell in self.cells)
        return sum(run.updates > 0 for training in distinct for run in training.ancestors())

    @property
    def component_choices(self) -> list[ComponentChoice]:
        """Distinct choices of components."""
        choices = (training.components for training in self.trainings)
        return list(dict.fromkeys(choice for choice in choices if choice is not None))

    @property
    def requests(self) -> dict[str, Request]:
        """Techniques of all data sets by name."""
        sets = self.configuration.data_sets
        return {request.name: request for data_set in sets for request in data_set.requests}

    def cells_of(self, training: Training) -> list[Cell]:
        """Return the cells of a training; empty if it is only an ancestor of others."""
        return [cell for cell in self.cells if cell.training == training]


def make_plan(configuration: Configuration) -> Plan:
    """Return the plan of all techniques.

    Raises:
        LotteryError: a technique fails, or has no cell at any sparsity.
    """
    cells = []
    for data_set in configuration.data_sets:
        name = data_set.data_name
        cells += [Cell(DENSE, 0.0, n, _dense(data_set, n), name) for n in data_set.seeds]
        for request in data_set.requests:
            for seed in request.seeds:
                cells += _cells(configuration, data_set, request, seed)
    ancestors = (training for cell in cells for training in cell.training.ancestors())
    trainings = (training for training in ancestors if training.pretrained is None)
    return Plan(configuration, tuple(cells), tuple(dict.fromkeys(trainings)))


def _dense(configuration: Configuration, seed: int) -> Training:
    resources = configuration.resources
    dense = Training(
        flags=configuration.train,
        seed=seed,
        updates=configuration.updates,
        processes=resources.processes * resources.nodes,
        adopted=_adopted(configuration.adopt.format(seed=seed)) if configuration.adopt else None,
        task=configuration.task,
        data=configuration.data_name,
    )
    if configuration.pretrained is None:
        return dense
    start = pretrained_weights(str(configuration.pretrained))
    prunable = {option.name: configuration.pruning[option.name] for option in options(Prunable)}
    ticket = Draw(mask_from=start.training, start=start, sparsity=0.0, **prunable)
    return replace(dense, ticket=ticket)


def pretrained_weights(file: str) -> Weights:
    """Return the weights of a checkpoint that exists before the plan."""
    return Training(Flags(), seed=0, updates=0, pretrained=(file, _digest(file))).at(0)


@cache
def _digest(file: str) -> str:
    """Return the SHA-256 of a file; empty if it is missing."""
    try:
        return sha256_of(Path(file))
    except OSError:
        return ""


def _adopted(folder: str) -> tuple[str, str]:
    """Return a run's folder and the SHA-256 of its last checkpoint, empty if it is missing."""
    return folder, _digest(f"{folder}/checkpoint_last.pt")


def _vocabulary(
    whole: Configuration, configuration: Configuration, request: Request, seed: int
) -> Vocabulary:
    """Return the building blocks of a technique for a data set of the whole configuration."""

    def plan_of(data: str, name: str) -> Cells:
        data_set = next((c for c in whole.data_sets if c.data_name == data), None)
        if data_set is None:
            names = ", ".join(c.data_name for c in whole.data_sets)
            raise LotteryError(f"data set {data!r} is unknown; choose one of {names}")
        where = f" of data set {data}" if data else ""
        found = next((r for r in data_set.requests if r.name == name and seed in r.seeds), None)
        if found is None:
            raise LotteryError(f"techniques{where} lacks {name} with seed {seed}; add it")
        if found.technique.takes_others:
            raise LotteryError(
                f"{name}{where} takes its masks from another technique; set masks to imp or slt"
            )
        inner = _vocabulary(whole, data_set, found, seed)
        planned = list(found.technique.plan(inner, **found.options))
        for _, training in planned:
            if found.budget and budget_factor(found, data_set, training) != 1:
                raise LotteryError(
                    f"{name}{where} has budget {found.budget:g}x, so its trainings have another"
                    f" length than those of its masks here; set budget: null for {name}"
                )
        return iter(planned)

    return Vocabulary(
        dense=_dense(configuration, seed),
        sparsities=request.sparsities,
        rounds=request.rounds,
        rewind=request.rewind,
        later_rewinds=request.later_rewinds,
        rewind_source=request.rewind_source,
        update_counter=request.update_counter or Reset.update_counter,
        pruning=PruningSchedule(sparsity=0.0, **configuration.pruning),
        plan_of=plan_of,
        metric=_searched_metric(configuration),
    )


def _searched_metric(configuration: Configuration) -> str:
    """Return the first metric of the task if larger values are better; else an empty string."""
    task, names = configuration.task, configuration.metrics
    return names[0] if not task.translates and task.metrics[names[0]] else ""


def _cells(
    whole: Configuration, configuration: Configuration, request: Request, seed: int
) -> list[Cell]:
    rows = []
    for sparsity, training in _rows(whole, configuration, request, seed).items():
        if request.budget is not None:
            training = _within_budget(whole, configuration, request, seed, sparsity, training)
        rows.append(Cell(request.name, sparsity, seed, training, configuration.data_name))
    if not rows:
        requested = ", ".join(f"{sparsity:g}" for sparsity in request.sparsities)
        raise configuration.source.error(
            request.key, f"{request.name} has no cell at the sparsities {requested}; add others"
        )
    return rows


def _rows(
    whole: Configuration, configuration: Configuration, request: Request, seed: int
) -> dict[float, Training]:
    """Return requested sparsity -> training of a technique, as the technique plans them."""
    vocabulary = _vocabulary(whole, configuration, request, seed)

    def error(message: str) -> LotteryError:
        return configuration.source.error(request.key, message)

    try:
        planned = list(request.technique.plan(vocabulary, **request.options))
    except LotteryError as refusal:
        raise error(str(refusal)) from refusal
    except Exception as failure:  # noqa: BLE001 - the user's technique may raise anything
        raise error(f"{request.name} fails with {type(failure).__name__}: {failure}") from failure
    rows = {}
    for sparsity, training in planned:
        refuse_impossible(configuration, request, training)
        if abs(sparsity - training.row) > 1e-6:
            raise error(
                f"{request.name} yields sparsity {sparsity:g} with a training of sparsity"
                f" {training.row:g}"
            )
        row = next((s for s in request.sparsities if abs(s - sparsity) < 1e-6), None)
        if row is not None:
            rows[row] = training
    return rows


def _within_budget(
    whole: Configuration,
    configuration: Configuration,
    request: Request,
    seed: int,
    sparsity: float,
    training: Training,
) -> Training:
    """Return the training of a row whose trainings have the total length of the budget."""
    factor = budget_factor(request, configuration, training)
    if factor == 1:
        return training
    try:
        shorter, changed = scale(configuration, request, factor)
        scaled = _rows(whole, shorter, changed, seed).get(sparsity)
        if scaled is None:
            raise LotteryError("has no such row in shorter trainings; omit budget")
        refuse_other_total(request, configuration, scaled)
    except LotteryError as refusal:
        text = str(refusal)
        if str(configuration.source.path) in text:  # it has a line already
            raise
        raise configuration.source.error(
            request.key, f"{request.name} at {sparsity:g} {text}"
        ) from refusal
    return scaled


def choose_cells(
    plan: Plan, only: Sequence[str], seeds: Optional[Sequence[int]] = None
) -> list[Cell]:
    """Return the cells that match patterns as ``slt@0.9``, ``slt`` or ``*@0.9#1``.

    Args:
        only: patterns; all cells match if it is empty.
        seeds: seeds of the cells, by default all.

    Raises:
        LotteryError: a pattern matches no cell, or the configuration lacks a seed.
    """
    unknown = set(seeds or ()) - {cell.seed for cell in plan.cells}
    if unknown:
        raise LotteryError(
            f"--seeds {min(unknown)} is not in {plan.configuration.source.path}; add it to its key"
            " seeds"
        )
    chosen = list(plan.cells)
    if only:
        named = [cell for pattern in only for cell in _named(plan, pattern)]
        chosen = [cell for cell in plan.cells if cell in named]
    return chosen if seeds is None else [cell for cell in chosen if cell.seed in seeds]


def _named(plan: Plan, pattern: str) -> list[Cell]:
    """Return the cells that match one pattern in data set, technique, sparsity and seed."""
    data, colon, rest = pattern.rpartition(":")
    name, _, seed = rest.partition("#")
    technique, _, sparsity = name.partition("@")
    if not (data or technique or sparsity or seed):
        raise LotteryError(f"--only {pattern!r} selects nothing; write technique@sparsity")
    matches = list(plan.cells)
    steps: list[tuple[str, Callable[[Cell], str], str]] = [
        *([("data:technique", lambda cell: cell.data, data)] if colon else []),
        ("technique@sparsity", lambda cell: cell.technique, technique),
        (f"{technique or '*'}@sparsity", lambda cell: f"{cell.sparsity:g}", _plain(sparsity)),
        (f"{name}#seed", lambda cell: str(cell.seed), seed),
    ]
    for form, text_of, wanted in steps:
        known = dict.fromkeys(map(text_of, matches))
        matches = [cell for cell in matches if fnmatch.fnmatchcase(text_of(cell), wanted or "*")]
        if not matches:
            values = ", ".join(known)
            raise LotteryError(
                f"--only {pattern} matches no cell; write {form} with one of {values}"
            )
    return matches


def _plain(sparsity: str) -> str:
    """Return a number in one form, ``0.8`` for ``.8`` and ``0.80``, and patterns unchanged."""
    try:
        return f"{float(sparsity):g}"
    except ValueError:
        return sparsity


#: name in the table of recipes -> flag of the training
_RECIPE = {
    "architecture": "--arch",
    "optimizer": "--optimizer",
    "learning rate": "--lr",
    "schedule": "--lr-scheduler",
    "warm-up": "--warmup-updates",
    "tokens per batch and process": "--max-tokens",
    "update frequency": "--update-freq",
    "dropout": "--dropout",
    "label smoothing": "--label-smoothing",
    "clipping": "--clip-norm",
}


def recipe(configuration: Configuration) -> dict[str, Any]:
    """Return the settings that reports compare with other runs and published ones."""
    flags = configuration.train
    pre_norm = "--encoder-normalize-before" in flags
    rewinds = sorted({t for request in configuration.requests for t in request.rewinds})
    shown = {
        **configuration.task.record,
        **{name: flags.get(flag) for name, flag in _RECIPE.items() if flag in flags},
        "normalisation": "pre-norm" if pre_norm else "post-norm, unless the architecture says so",
        "processes": configuration.resources.processes * configuration.resources.nodes,
        "updates": configuration.updates,
        "rewind": rewinds[0] if len(rewinds) == 1 else rewinds,
        "scope": configuration.pruning["scope"],
        "prunable": configuration.pruning["prunable"],
        **({"start": "pre-trained weights"} if configuration.pretrained is not None else {}),
        "checkpoint": [evaluation.checkpoint for evaluation in configuration.evaluations],
    }
    if configuration.translations:
        shown["beam"] = [evaluation.beam for evaluation in configuration.translations]
        shown["length penalty"] = [evaluation.lenpen for evaluation in configuration.translations]
    return shown
