"""The plan: every cell of the table, and every training that they depend on, once."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import sha256_of
from fairseq_lottery.options import Reset
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.workflow.reading.configuration import Configuration, Request, Translation
from fairseq_lottery.workflow.trainings.training import Closing, Growth, Training
from fairseq_lottery.workflow.trainings.vocabulary import Vocabulary

DENSE = "dense"


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
    def closings(self) -> list[Closing]:
        """The choices of heads and FFN units, each once."""
        found = (training.parts for training in self.trainings)
        return list(dict.fromkeys(parts for parts in found if parts is not None))

    @property
    def scores(self) -> set[str]:
        """Whatever ranks weights in a training or in the ticket that it starts from."""
        axes = [axis for training in self.trainings for axis in (training.ticket, training.growth)]
        return {axis.score for axis in axes if axis is not None}

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
        clock=request.clock or Reset.clock,
        growth=Growth(sparsity=0.0, **configuration.growth),
    )
    try:
        found = list(request.technique.plan(vocabulary, **request.options))
    except LotteryError as error:
        raise configuration.source.error(request.key, str(error)) from error
    except Exception as error:  # noqa: BLE001 - a user's own technique raises whatever it likes
        raise configuration.source.error(
            request.key, f"{request.name} fails with {type(error).__name__}: {error}"
        ) from error
    for _, training in found:
        if training.parts is not None and not configuration.task.translates:
            _refuse_untranslated(configuration, request, training)
        drawn = training.ticket
        late = drawn and drawn.clock == "rewind" and drawn.start.update >= training.updates
        if drawn and late and training.updates:
            raise configuration.source.error(
                request.key,
                f"{request.name} goes back to update {drawn.start.update}, the last one, and its"
                " clock with it: nothing would be trained; set an earlier rewind",
            )
        _refuse_unfit(configuration, request, training)
    rows = []
    for sparsity, training in found:
        _refuse_short_average(configuration, request, training)
        if abs(sparsity - training.row) > 1e-6:
            raise configuration.source.error(
                request.key,
                f"{request.name} gives a training of sparsity {training.row:g} for the row"
                f" {sparsity:g}",
            )
        row = next((s for s in request.sparsities if abs(s - sparsity) < 1e-6), None)
        if row is not None:
            rows.append(Cell(request.name, row, seed, training))
    if not rows:
        asked = ", ".join(f"{sparsity:g}" for sparsity in request.sparsities)
        raise configuration.source.error(
            request.key, f"{request.name} has no cell at the sparsities {asked}"
        )
    return rows


def _refuse_unfit(configuration: Configuration, request: Request, training: Training) -> None:
    """A scope N:M has one sparsity, and a mask has it or not: nothing grows to it."""
    for run in training.ancestors():
        drawn, grown = run.ticket, run.growth
        pattern = Pattern.parse(drawn.scope) if drawn and not drawn.takes_mask else None
        if drawn and pattern and not pattern.has(drawn.sparsity):
            raise configuration.source.error(
                request.key,
                f"{request.name} draws at {drawn.sparsity:g}, and scope: {pattern} has the sparsity"
                f" {pattern.sparsity:.6g} only; write sparsities: [{pattern.sparsity:.6g}], and no"
                " rounds",
            )
        if grown and Pattern.parse(grown.scope):
            raise configuration.source.error(
                request.key,
                f"{request.name} prunes during training, and scope: {grown.scope} is only for"
                " tickets that are drawn; write one-shot, or another scope",
            )


def _fits(sparsity: float, pattern: str) -> bool:
    """A number as anybody writes it, ``.8`` and ``0.80`` too, or a pattern."""
    try:
        return abs(float(pattern) - sparsity) < 1e-9
    except ValueError:
        return fnmatch.fnmatchcase(f"{sparsity:g}", pattern or "*")


def _refuse_short_average(
    configuration: Configuration, request: Request, training: Training
) -> None:
    """Checkpoints of one mask alone can be averaged, and none lies before a rewound clock."""
    if not training.updates:
        return  # what is judged without training was averaged before
    drawn, growth = training.ticket, training.growth
    first = drawn.start.update if drawn is not None and drawn.clock == "rewind" else 0
    if growth is not None:
        first = max(first, growth.end - 1)
    every = int(training.flags.number("--save-interval-updates") or 0)
    for number, evaluation in enumerate(configuration.evaluations):
        kind, _, count = evaluation.checkpoint.partition(":")
        there = training.updates // every - first // every if every else 0
        if kind == "average" and there < int(count):
            raise configuration.source.error(
                ("evaluate", number),
                f"{evaluation.checkpoint}: {request.name} saves {there} checkpoints after update"
                f" {first}, from which on it has its last mask; save more often, or average fewer",
            )


def _refuse_untranslated(
    configuration: Configuration, request: Request, training: Training
) -> None:
    """Refuse gates, which learn from translations, and models that no training validates."""
    assert training.parts is not None
    learned = training.parts.measure == "gates"
    if learned or not training.updates:
        what = "learned gates" if learned else "then: zero-shot"
        raise configuration.source.error(
            request.key,
            f"{request.name} with {what} requires a task that translates, and the task is"
            f" {configuration.task.name}; choose another technique",
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
    if seeds is not None:
        return [cell for cell in choose_cells(plan, only) if cell.seed in seeds]
    if not only:
        return list(plan.cells)
    chosen: list[Cell] = []
    for pattern in only:
        name, _, seed = pattern.partition("#")
        technique, _, sparsity = name.partition("@")
        if not (technique or sparsity or seed):
            raise LotteryError(f"--only {pattern!r} names no cell; write technique@sparsity")
        of_it = [c for c in plan.cells if fnmatch.fnmatchcase(c.technique, technique or "*")]
        in_row = [cell for cell in of_it if _fits(cell.sparsity, sparsity)]
        fits = [cell for cell in in_row if fnmatch.fnmatchcase(str(cell.seed), seed or "*")]
        if not fits:
            known = [cell.technique for cell in plan.cells]
            what = "technique@sparsity with"
            if in_row:
                known, what = [str(cell.seed) for cell in in_row], f"{name}#seed with"
            elif of_it:
                known = [f"{cell.sparsity:g}" for cell in of_it]
                what = f"{technique or '*'}@sparsity with"
            listed = ", ".join(dict.fromkeys(known))
            raise LotteryError(f"--only {pattern} fits no cell; write {what} one of {listed}")
        chosen += fits
    return [cell for cell in plan.cells if cell in chosen]


def recipe(plan: Plan) -> dict[str, Any]:
    """What tables say of the run beside published ones."""
    configuration = plan.configuration
    flags = configuration.train
    named = {
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
    found: dict[str, Any] = {what: flags.get(flag) for what, flag in named.items() if flag in flags}
    pre_norm = "--encoder-normalize-before" in flags
    rewinds = sorted({request.rewind for request in configuration.requests})
    translations = [e for e in configuration.evaluations if isinstance(e, Translation)]
    shown = {
        **configuration.task.record,
        **found,
        "normalisation": "pre-norm" if pre_norm else "post-norm, unless the architecture says so",
        "processes": configuration.resources.processes * configuration.resources.nodes,
        "updates": configuration.updates,
        "rewind": rewinds[0] if len(rewinds) == 1 else rewinds,
        "scope": configuration.growth["scope"],
        "prunable": configuration.growth["prunable"],
        "checkpoint": [evaluation.checkpoint for evaluation in configuration.evaluations],
    }
    if translations:
        shown["beam"] = [evaluation.beam for evaluation in translations]
        shown["length penalty"] = [evaluation.lenpen for evaluation in translations]
    return shown
