"""Trainings of a fixed total length: a technique with many trainings gets shorter ones."""

from __future__ import annotations

import math
from dataclasses import replace

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.trainings.training import Training

#: flags in updates, which shrink or grow with the training
_FLAGS = (
    *("--max-update", "--warmup-updates", "--total-num-update", "--lr-period-updates"),
    *("--warmup-steps", "--hold-steps", "--decay-steps"),
    *("--save-interval-updates", "--validate-interval-updates"),
)
#: settings of techniques in updates
_OPTIONS = ("updates", "learning", "tuning")
#: keys of the pruning schedule in updates
_SCHEDULE = ("start", "end", "every")


def updates_behind(training: Training) -> int:
    """Return the updates of a training and of all trainings that it depends on."""
    runs = [run for run in training.ancestors() if run.pretrained is None and run.updates]
    return sum(run.updates - run.first_update for run in runs)


def budget_factor(request: Request, configuration: Configuration, training: Training) -> float:
    """Return the factor by which all trainings of a row have to shrink or grow."""
    assert request.budget is not None
    return request.budget * configuration.updates / updates_behind(training)


def scale(
    configuration: Configuration, request: Request, factor: float
) -> tuple[Configuration, Request]:
    """Return a configuration and a request whose trainings are ``factor`` times as long.

    Everything in updates is scaled: warm-up, rewinding, pruning schedule and validations.

    Raises:
        LotteryError: the trainings would have no update before t, or in their warm-up.
    """
    updates = math.floor(configuration.updates * factor + 1e-9)

    def scaled(update: int) -> int:
        return min(updates, max(1, round(update * factor))) if update else 0

    flags = configuration.train
    warmup = flags.number("--warmup-updates") or 0
    for name, update in (("rewind", request.rewind), ("--warmup-updates", warmup)):
        if update and update * factor < 0.5:
            raise LotteryError(
                f"has {updates} updates for each training with budget {request.budget:g}x, too few"
                f" for {name}; give a larger budget, or fewer rounds"
            )
    for name in _FLAGS:
        number = flags.number(name)
        if number:
            flags = flags.plus(name, scaled(int(number)))
    flags = flags.plus("--max-update", updates)
    pruning = dict(configuration.pruning)
    pruning.update({name: scaled(pruning[name]) for name in _SCHEDULE})
    options = {
        name: scaled(value) if name in _OPTIONS and type(value) is int else value
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
