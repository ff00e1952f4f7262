"""The plan: every cell of the table, and every training that they depend on, once."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import sha256_of
from fairseq_lottery.options import Reset
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.trainings.training import ComponentChoice, PruningSchedule, Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary


@dataclass(frozen=True)
class Cell:
    """One place of the table: a technique at a sparsity with a seed, and who fills it."""

    technique: str
    sparsity: float
    seed: int
    training: Training

    @property
    def name(self) -> str:
        """As ``--only`` and messages name it."""
        return f"{self.technique}@{self.sparsity:g}#{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Cells, and the trainings behind them, parents first, each once."""

    configuration: Configuration
    cells: tuple[Cell, ...]
    trainings: tuple[Training, ...]

    @property
    def trained(self) -> int:
        """How many trainings there are; models that are only pruned are none."""
        return sum(training.updates > 0 for training in self.trainings)

    @property
    def unshared(self) -> int:
        """How many trainings it would take if each distinct cell did all of its own."""
        distinct = dict.fromkeys(cell.training for cell in self.cells)
        return sum(run.updates > 0 for training in distinct for run in training.ancestors())

    @property
    def component_choices(self) -> list[ComponentChoice]:
        """The choices of heads and FFN units, each once."""
        found = (training.components for training in self.trainings)
        return list(dict.fromkeys(choice for choice in found if choice is not None))

    def cells_of(self, training: Training) -> list[Cell]:
        """The cells that a training fills; none for one that others only start from."""
        return [cell for cell in self.cells if cell.training == training]


def make_plan(configuration: Configuration) -> Plan:
    """Ask every technique for its trainings.

    Raises:
        LotteryError: a technique fails, or has no cell at any sparsity.
    """
    cells = [Cell(DENSE, 0.0, seed, _dense(configuration, seed)) for seed in configuration.seeds]
    for request in configuration.requests:
        for seed in request.seeds:
            cells += _cells(configuration, request, seed)
    ancestors = (training for cell in cells for training in cell.training.ancestors())
    return Plan(configuration, tuple(cells), tuple(dict.fromkeys(ancestors)))


def _dense(configuration: Configuration, seed: int) -> Training:
    resources = configuration.resources
    return Training(
        flags=configuration.train,
        seed=seed,
        updates=configuration.updates,
        processes=resources.processes * resources.nodes,
        adopted=_adopted(configuration.adopt.format(seed=seed)) if configuration.adopt else None,
        task=configuration.task,
    )


@cache
def _adopted(folder: str) -> tuple[str, str]:
    """A run's folder and what its last checkpoint is; empty where it is not there yet."""
    try:
        return folder, sha256_of(Path(folder) / "checkpoint_last.pt")
    except OSError:
        return folder, ""


def _cells(configuration: Configuration, request: Request, seed: int) -> list[Cell]:
    vocabulary = Vocabulary(
        dense=_dense(configuration, seed),
        sparsities=request.sparsities,
        rounds=request.rounds,
        rewind=request.rewind,
        rewind_source=request.rewind_source,
        update_counter=request.update_counter or Reset.update_counter,
        pruning=PruningSchedule(sparsity=0.0, **configuration.pruning),
    )

    def error(message: str) -> LotteryError:
        return configuration.source.error(request.key, message)

    try:
        found = list(request.technique.plan(vocabulary, **request.options))
    except LotteryError as refusal:
        raise error(str(refusal)) from refusal
    except Exception as failure:  # noqa: BLE001 - a user's own technique raises whatever it likes
        raise error(f"{request.name} fails with {type(failure).__name__}: {failure}") from failure
    rows = []
    for sparsity, training in found:
        for problem in (
            _untranslated(configuration, training),
            _untrained(training),
            _unlike_pattern(training),
        ):
            if problem:
                raise error(f"{request.name} {problem}")
        _refuse_short_average(configuration, request, training)
        if abs(sparsity - training.row) > 1e-6:
            raise error(
                f"{request.name} gives a training of sparsity {training.row:g} for the row"
                f" {sparsity:g}"
            )
        row = next((s for s in request.sparsities if abs(s - sparsity) < 1e-6), None)
        if row is not None:
            rows.append(Cell(request.name, row, seed, training))
    if not rows:
        asked = ", ".join(f"{sparsity:g}" for sparsity in request.sparsities)
        raise error(f"{request.name} has no cell at the sparsities {asked}")
    return rows


def _untranslated(configuration: Configuration, training: Training) -> str:
    """What is wrong with gates, which learn from translations, and unvalidated models."""
    choice, task = training.components, configuration.task
    if choice is None or task.translates or (choice.measure != "gates" and training.updates):
        return ""
    what = "learned gates" if choice.measure == "gates" else "then: zero-shot"
    return (
        f"with {what} requires a task that translates, and the task is {task.name}; choose another"
        " technique"
    )


def _untrained(training: Training) -> str:
    if not training.updates or training.first_update < training.updates:
        return ""
    return (
        f"goes back to update {training.first_update}, the last one, and its update counter with"
        " it: nothing would be trained; set an earlier rewind"
    )


def _unlike_pattern(training: Training) -> str:
    """Return what is wrong with a scope N:M, which has one sparsity and no pruning schedule."""
    for run in training.ancestors():
        drawn, schedule = run.ticket, run.pruning
        pattern = Pattern.parse(drawn.scope) if drawn and not drawn.takes_mask else None
        if drawn and pattern and not pattern.has(drawn.sparsity):
            return (
                f"draws at {drawn.sparsity:g}, and scope: {pattern} has the sparsity"
                f" {pattern.sparsity:.6g} only; write sparsities: [{pattern.sparsity:.6g}], and no"
                " rounds"
            )
        if schedule and Pattern.parse(schedule.scope):
            return (
                f"prunes during training, and scope: {schedule.scope} is only for tickets that are"
                " drawn; write one-shot, or another scope"
            )
    return ""


def _refuse_short_average(
    configuration: Configuration, request: Request, training: Training
) -> None:
    """Refuse to average checkpoints of several masks, or from before a rewound update counter."""
    if not training.updates:
        return  # what is judged without training was averaged before
    first = training.first_update
    if training.pruning is not None:
        first = max(first, training.pruning.end - 1)
    every = int(training.flags.number("--save-interval-updates") or 0)
    there = training.updates // every - first // every if every else 0
    for number, evaluation in enumerate(configuration.evaluations):
        if there < evaluation.averaged:
            raise configuration.source.error(
                ("evaluate", number),
                f"{evaluation.checkpoint}: {request.name} saves {there} checkpoints after update"
                f" {first}, from which on it has its last mask; save more often, or average fewer",
            )


def choose_cells(
    plan: Plan, only: Sequence[str], seeds: Optional[Sequence[int]] = None
) -> list[Cell]:
    """The cells that patterns as ``slt@0.9``, ``slt`` or ``*@0.9#1`` name; all for no pattern.

    Args:
        seeds: of these seeds only.

    Raises:
        LotteryError: a pattern fits no cell, or a seed is not the configuration's.
    """
    strange = set(seeds or ()) - set(plan.configuration.seeds)
    if strange:
        raise LotteryError(
            f"--seeds {min(strange)} is no seed of {plan.configuration.source.path}; write it"
            " under seeds: there"
        )
    chosen = list(plan.cells)
    if only:
        named = [cell for pattern in only for cell in _named(plan, pattern)]
        chosen = [cell for cell in plan.cells if cell in named]
    return chosen if seeds is None else [cell for cell in chosen if cell.seed in seeds]


def _named(plan: Plan, pattern: str) -> list[Cell]:
    """The cells that one pattern names, narrowed by technique, sparsity and seed."""
    name, _, seed = pattern.partition("#")
    technique, _, sparsity = name.partition("@")
    if not (technique or sparsity or seed):
        raise LotteryError(f"--only {pattern!r} names no cell; write technique@sparsity")
    fits = list(plan.cells)
    steps: list[tuple[str, Callable[[Cell], str], str]] = [
        ("technique@sparsity", lambda cell: cell.technique, technique),
        (f"{technique or '*'}@sparsity", lambda cell: f"{cell.sparsity:g}", _plain(sparsity)),
        (f"{name}#seed", lambda cell: str(cell.seed), seed),
    ]
    for what, text_of, wanted in steps:
        known = dict.fromkeys(map(text_of, fits))
        fits = [cell for cell in fits if fnmatch.fnmatchcase(text_of(cell), wanted or "*")]
        if not fits:
            listed = ", ".join(known)
            raise LotteryError(f"--only {pattern} fits no cell; write {what} with one of {listed}")
    return fits


def _plain(sparsity: str) -> str:
    """A number as anybody writes it, ``.8`` and ``0.80`` too, in one form; patterns as they are."""
    try:
        return f"{float(sparsity):g}"
    except ValueError:
        return sparsity


#: what tables say of a training -> its flag
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


def recipe(plan: Plan) -> dict[str, Any]:
    """What tables say of the run beside published ones."""
    configuration = plan.configuration
    flags = configuration.train
    pre_norm = "--encoder-normalize-before" in flags
    rewinds = sorted({request.rewind for request in configuration.requests})
    shown = {
        **configuration.task.record,
        **{what: flags.get(flag) for what, flag in _RECIPE.items() if flag in flags},
        "normalisation": "pre-norm" if pre_norm else "post-norm, unless the architecture says so",
        "processes": configuration.resources.processes * configuration.resources.nodes,
        "updates": configuration.updates,
        "rewind": rewinds[0] if len(rewinds) == 1 else rewinds,
        "scope": configuration.pruning["scope"],
        "prunable": configuration.pruning["prunable"],
        "checkpoint": [evaluation.checkpoint for evaluation in configuration.evaluations],
    }
    if configuration.translations:
        shown["beam"] = [evaluation.beam for evaluation in configuration.translations]
        shown["length penalty"] = [evaluation.lenpen for evaluation in configuration.translations]
    return shown
