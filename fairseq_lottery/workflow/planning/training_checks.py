"""Refusals of planned trainings that would fail, or would train nothing."""

from __future__ import annotations

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.options.axes import PATTERN_PRUNERS
from fairseq_lottery.options.nm_pattern import Pattern
from fairseq_lottery.options.pair_rule import PairRule
from fairseq_lottery.workflow.reading.configuration import Configuration, Request
from fairseq_lottery.workflow.reading.yaml_lines import Key
from fairseq_lottery.workflow.trainings.training import Training


def refuse_impossible(configuration: Configuration, request: Request, training: Training) -> None:
    """Raise an error with the line of the technique or evaluation that a training does not suit."""
    for problem in (
        _without_gates(configuration, training),
        _untrained(training),
        _unlike_pattern(training),
    ):
        if problem:
            raise configuration.source.error(request.key, f"{request.name} {problem}")
    _refuse_short_average(configuration, request, training)
    _refuse_without_mask(configuration, request, training)


def _without_gates(configuration: Configuration, training: Training) -> str:
    """Return the problem of learned gates in a task that does not translate."""
    task = configuration.task
    if task.translates or not training.has_gates:
        return ""
    return (
        f"with learned gates requires a task that translates, and {task.name} does not; choose"
        " another technique"
    )


def _untrained(training: Training) -> str:
    if not training.updates or training.first_update < training.updates:
        return ""
    return (
        f"rewinds its update counter to the last update, {training.first_update}, so nothing"
        " would be trained; set an earlier rewind"
    )


def _unlike_pattern(training: Training) -> str:
    """Return the problem of an N:M scope, which has one sparsity and no pruning schedule."""
    for run in training.ancestors():
        drawn, schedule = run.ticket, run.pruning
        pattern = Pattern.parse(drawn.scope) if drawn and not drawn.takes_mask else None
        if drawn and pattern and not pattern.has(drawn.sparsity):
            return (
                f"draws at {drawn.sparsity:g}, but scope: {pattern} always prunes"
                f" {pattern.sparsity:.6g}; write sparsities: [{pattern.sparsity:.6g}] and omit"
                " rounds"
            )
        keeps_pattern = schedule is not None and schedule.pruner in PATTERN_PRUNERS
        if schedule and Pattern.parse(schedule.scope) and not keeps_pattern:
            return (
                f"prunes during training, but scope: {schedule.scope} requires a drawn ticket;"
                " choose the technique one-shot, or another scope"
            )
    return ""


def _refuse_short_average(
    configuration: Configuration, request: Request, training: Training
) -> None:
    """Raise an error if too few checkpoints have the final mask and the training's own updates."""
    if not training.updates:
        return  # the models of its parent are evaluated
    first = training.first_update
    if training.pruning is not None:
        first = max(first, training.pruning.end - 1)
    every = int(training.flags.number("--save-interval-updates") or 0)
    saved = training.updates // every - first // every if every else 0
    for number, evaluation in enumerate(configuration.evaluations):
        if saved < evaluation.averaged:
            raise configuration.source.error(
                ("evaluate", number),
                f"{evaluation.checkpoint}: {request.name} saves {saved} checkpoints after update"
                f" {first}, when its mask is final; save more often, or average fewer",
            )


def _refuse_without_mask(
    configuration: Configuration, request: Request, training: Training
) -> None:
    """Raise an error if masks of pairs lack an evaluated pair, or exclude the analysis."""
    if not training.pair_masks:
        return
    known = training.flags.pairs
    for number, evaluation in enumerate(configuration.translations):
        key: Key = ("evaluate", number, "pair_mask" if evaluation.pair_mask else "pair")
        try:
            PairRule.parse(evaluation.pair_mask or str(evaluation.pair)).refuse_unknown(known)
        except LotteryError as error:
            advice = "" if evaluation.pair_mask else "; or give pair_mask, a rule for its mask"
            raise configuration.source.error(key, f"{request.name}: {error}{advice}") from error
    if configuration.analysis is not None:
        raise configuration.source.error(
            ("analyze",),
            f"analyze compares models with one mask, and those of {request.name} have a mask for"
            " each pair of languages; omit one of both",
        )
