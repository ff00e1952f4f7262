"""The plan: all cells of the table, and the distinct trainings that they depend on."""

from __future__ import annotations

from dataclasses import dataclass

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options import Reset
from fairseq_lottery.records.cells import DENSE
from fairseq_lottery.workflow.planning.budgets import budget_factor, refuse_other_total, scale
from fairseq_lottery.workflow.planning.dense_training import dense_training
from fairseq_lottery.workflow.planning.training_checks import refuse_impossible
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.trainings.component_choice import ComponentChoice
from fairseq_lottery.workflow.trainings.pruning_schedule import PruningSchedule
from fairseq_lottery.workflow.trainings.techniques import Cells
from fairseq_lottery.workflow.trainings.training import Training
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
        cells += [Cell(DENSE, 0.0, n, dense_training(data_set, n), name) for n in data_set.seeds]
        for request in data_set.requests:
            for seed in request.seeds:
                cells += _cells(configuration, data_set, request, seed)
    ancestors = (training for cell in cells for training in cell.training.ancestors())
    trainings = (training for training in ancestors if training.pretrained is None)
    return Plan(configuration, tuple(cells), tuple(dict.fromkeys(trainings)))


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
                    f"budget {found.budget:g}x changes the length of the trainings of"
                    f" {name}{where}, whose masks another technique uses; set budget: null for"
                    f" {name}"
                )
        return iter(planned)

    return Vocabulary(
        dense=dense_training(configuration, seed),
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
            request.key, f"{request.name} has no row at the sparsities {requested}; set others"
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
        shorter, changed = scale(configuration, request, training, factor)
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
