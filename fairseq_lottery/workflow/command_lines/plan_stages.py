"""All stages of a plan, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Optional

from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.analysis.workflow.analysis_stage import analysis_stage
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.command_lines.evaluation_stages import evaluation_stages
from fairseq_lottery.workflow.command_lines.stage_writer import StageWriter, digest_of
from fairseq_lottery.workflow.command_lines.training_stages import ticket_stages, training_stage
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.trainings.training import Training


def make_stages(
    plan: Plan, executor: str = "local", wanted: Optional[Collection[str]] = None
) -> tuple[Stage, ...]:
    """Return all stages of a plan, each after the stages whose files it reads.

    Args:
        wanted: folders of the requested trainings, by default all. Only snapshots that they need
            are required of an adopted run, which may lack others.
    """
    requested = {
        ancestor
        for training in plan.trainings
        if wanted is None or training.folder in wanted
        for ancestor in training.ancestors()
    }
    read: dict[Training, set[int]] = defaultdict(set)  # training -> updates of its snapshots
    states: set[Training] = set()  # trainings whose optimizer state is read
    for training in plan.trainings:
        drawn = training.ticket
        if drawn is not None and training.is_drawn:
            if drawn.moments == "keep":
                states.add(drawn.mask_from)
            for weights in drawn.read_weights:
                source = weights.training
                if source.pretrained is None and (source.adopted is None or training in requested):
                    read[weights.training].add(weights.update)
    searched = {choice.of for choice in plan.component_choices}
    # with a budget, the dense run behind a model that is only pruned may have no cell of its own
    pruned = {
        training.ticket.mask_from
        for training in plan.trainings
        if training.ticket is not None and not training.updates and not training.has_gates
    }
    writers = {c.data_name: StageWriter(c, executor) for c in plan.configuration.data_sets}
    by_name: dict[str, Stage] = {}  # trainings may share stages
    for training in plan.trainings:
        writer = writers[training.data]
        evaluated = writer.configuration.evaluations if plan.cells_of(training) else ()
        models = [evaluation.checkpoint for evaluation in evaluated]
        if training in pruned:
            models = [evaluation.checkpoint for evaluation in writer.configuration.evaluations]
        models += ["last"] if training in searched else []
        snapshots = _snapshots(plan, training, read[training])
        stages = [
            *ticket_stages(writer, training),
            training_stage(
                writer, training, snapshots, list(dict.fromkeys(models)), training in states
            ),
        ]
        for evaluation in evaluated:
            stages += evaluation_stages(writer, training, evaluation)
        for stage in stages:
            by_name.setdefault(stage.name, stage)
    stages = list(by_name.values())
    if plan.configuration.analysis is not None:
        writer = writers[plan.configuration.data_name]
        stages.append(_analyze(writer, plan, plan.configuration.analysis, stages))
    return tuple(stages)


def _snapshots(plan: Plan, training: Training, read: set[int]) -> list[int]:
    """Return the updates at which a training writes its weights."""
    if "snapshots" not in plan.configuration.keep or training.adopted is not None:
        return sorted(read)
    requests = plan.configuration_of(training).requests
    rewinds = {t for request in requests for t in request.rewinds}
    every = {*read, 0, *rewinds, training.updates} if training.updates else set()
    return sorted(u for u in every if training.first_update <= u <= training.updates)


def _analyze(writer: StageWriter, plan: Plan, settings: Settings, stages: Sequence[Stage]) -> Stage:
    """Return the stage that analyzes the selected models of all cells."""
    trainings = dict.fromkeys(cell.training for cell in plan.cells)
    selected = writer.configuration.evaluations[0].checkpoint
    labels = {file: digest_of(Path(file)) for file in settings.labels.values()}
    return analysis_stage(
        settings,
        [training.model(selected) for training in trainings],
        [stage.leaves[0] for stage in stages if stage.kind == "score"],
        writer.lottery,
        ("--data", str(writer.configuration.data), *writer.device),
        {**writer.digests(settings.subset), **labels},
    )
