"""Trainings of a fixed total length: a technique with many trainings gets shorter ones."""

from __future__ import annotations

import math
from dataclasses import replace

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.reading.technique_requests import IN_UPDATES
from fairseq_lottery.workflow.trainings.training import Training

#: flags in updates, which shrink or grow with the training
_FLAGS = (
    *("--max-update", "--warmup-updates", "--total-num-update", "--lr-period-updates"),
    *("--warmup-steps", "--hold-steps", "--decay-steps", "--lr-deacy-period"),
    *("--save-interval-updates", "--validate-interval-updates", "--validate-after-updates"),
    "--ema-start-update",
)
#: warm-up of fairseq's inverse_sqrt without --warmup-updates
_WARMUP = 4000
#: keys of the pruning schedule in updates
_SCHEDULE = ("start", "end", "every")


def updates_behind(training: Training) -> int:
    """Return the updates of a training and of all trainings that it depends on.

    A training of which only a snapshot is read counts up to the snapshot, as in reports.
    """
    last = {training: training.updates}

    def read(run: Training, update: int) -> None:
        last[run] = max(update, last.get(run, 0))

    for run in training.ancestors():
        drawn = run.ticket
        if drawn is None:
            continue
        for weights in drawn.read_weights:
            read(weights.training, weights.update)
        if drawn.moments == "keep":
            read(drawn.mask_from, drawn.mask_from.updates)
        if drawn.components is not None:
            read(drawn.components.of, drawn.components.of.updates)
    own = {run: update for run, update in last.items() if run.pretrained is None}
    return sum(max(0, update - run.first_update) for run, update in own.items())


def budget_factor(request: Request, configuration: Configuration, training: Training) -> float:
    """Return the factor by which all trainings of a row have to shrink or grow."""
    assert request.budget is not None
    return request.budget * configuration.updates / updates_behind(training)


def scale(
    configuration: Configuration, request: Request, training: Training, factor: float
) -> tuple[Configuration, Request]:
    """Return a configuration and a request whose trainings are ``factor`` times as long.

    Everything in updates is scaled: warm-up, rewinding, pruning schedule and validations.

    Args:
        training: training of the request before it is scaled.

    Raises:
        LotteryError: the trainings would have no update before t, or in their warm-up.
    """
    updates = math.floor(configuration.updates * factor + 1e-9)

    def scaled(update: int) -> int:
        if update <= 0:
            return update
        length = max(1, round(update * factor))
        return min(updates, length) if update <= configuration.updates else length

    flags = configuration.train
    is_warm = flags.get("--lr-scheduler") == "inverse_sqrt"
    warmup = flags.number("--warmup-updates", _WARMUP if is_warm else 0) or 0
    if warmup:
        flags = flags.plus("--warmup-updates", int(warmup))
    draws = any(run.ticket is not None for run in training.ancestors())
    rewind = request.rewind if draws else 0
    for name, update in (("rewind", rewind), ("--warmup-updates", warmup)):
        if update and update * factor < 0.5:
            raise LotteryError(
                f"has {updates} updates for each training with budget {request.budget:g}x, too few"
                f" for {name}; give a larger budget{', or fewer rounds' if draws else ''}"
            )
    for name in _FLAGS:
        number = flags.number(name)
        if number:
            flags = flags.plus(name, scaled(int(number)))
    flags = flags.plus("--max-update", updates)
    pruning = dict(configuration.pruning)
    pruning.update({name: scaled(pruning[name]) for name in _SCHEDULE})
    options = {
        name: scaled(value) if name in IN_UPDATES and type(value) is int else value
        for name, value in request.options.items()
    }
    shorter = replace(configuration, train=flags, updates=updates, pruning=pruning, adopt=None)
    rewinds = tuple((sparsity, scaled(update)) for sparsity, update in request.later_rewinds)
    rewind = scaled(request.rewind)
    return shorter, replace(request, options=options, rewind=rewind, later_rewinds=rewinds)


def refuse_other_total(request: Request, configuration: Configuration, training: Training) -> None:
    """Refuse a scaled training whose total length differs from the budget by more than rounding."""
    assert request.budget is not None
    total, budget = updates_behind(training), request.budget * configuration.updates
    # each training rounds its length, and the update that it starts at
    if abs(total - budget) > 2 * sum(1 for _ in training.ancestors()):
        raise LotteryError(
            f"takes {total} updates with budget {request.budget:g}x, expected {budget:g}; its"
            " trainings have fixed lengths, so omit budget"
        )
