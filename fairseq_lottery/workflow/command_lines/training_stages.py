"""Stages that draw the ticket of a training, and train it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fairseq_lottery import options
from fairseq_lottery.heads.workflow.choice_stages import choice_path, choice_stages, prune_words
from fairseq_lottery.options import (
    DRAW,
    TRAINING,
    MaskControl,
    Prunable,
    Pruning,
    Ranking,
    Reset,
    Schedule,
    ScoreBatches,
    ScoreRounds,
)
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.command_lines import train_env
from fairseq_lottery.workflow.command_lines.pair_stages import pair_stages
from fairseq_lottery.workflow.command_lines.stage_writer import StageWriter
from fairseq_lottery.workflow.planning.retention import retention_flags
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.training import Training, planned_files


def ticket_stages(writer: StageWriter, training: Training) -> Iterator[Stage]:
    """Yield the stages that choose what a training prunes, and draw its ticket."""
    where = ("--data", str(writer.configuration.data), *writer.device)
    yield from choice_stages(training, writer.lottery, where)
    yield from pair_stages(training, writer.lottery)
    if training.ticket is not None and training.is_drawn:
        yield _draw(writer, training, training.ticket)


def training_stage(
    writer: StageWriter,
    training: Training,
    snapshots: list[int],
    models: list[str],
    keeps_state: bool,
) -> Stage:
    """Return the stage that trains, adopts a run, or prunes a model without training.

    Args:
        snapshots: updates at which it writes its weights.
        models: models that it keeps, such as ``best``.
        keeps_state: whether its optimizer state is read.
    """
    kind, title = "train", f"train {training.title}"
    needs = [training.ticket_file] if training.ticket is not None else []
    facts: dict[str, Any] = {}
    if training.components is not None:
        choice, choice_file = training.components, str(choice_path(training))
        facts["parts"] = {
            "file": choice_file,
            "kind": choice.kind,
            "share": choice.share_pruned,
        }
        needs.append(choice_file)
    needs += [training.pair_masks_file] if training.pair_masks else []
    if training.adopted is not None and training.ticket is None and training.pruning is None:
        kind, title = "adopt", "adopt the dense run"
        run = training.adopted[0]
        last = training.updates
        facts["adopts"] = {"run": run, "updates": snapshots, "last": last}
        facts["adopts"] |= {"moments": True} if keeps_state else {}
        command = writer.module("fairseq_lottery.workflow.stages.adopt", *(
            *("--run", run, "--out", training.folder, "--updates", *snapshots),
            *("--last", training.updates, "--models", *models),
            *("--data", writer.configuration.data, "--task", training.task.name),
            *train_env.data_flags(writer.configuration).words(),
        ))  # fmt: skip
    elif not training.updates and training.ticket is not None:
        kind, title = "close", f"prune the model of {training.title}"
        words, needs = prune_words(training, models)
        command = writer.module("fairseq_lottery.heads.workflow.prune_stage", *words)
    else:
        command = _fairseq_train(writer, training, snapshots)
    return Stage(
        kind=kind,
        folder=training.folder,
        title=title,
        command=command,
        needs=tuple(needs),
        leaves=(
            *(training.at(update).file for update in snapshots),
            *(training.model(model) for model in models),
            *([training.state_file] if keeps_state and training.adopted is None else []),
        ),
        facts={
            "updates": training.updates,
            "first_update": training.first_update,
            "sparsity": training.sparsity,
            "seed": training.seed,
            "label": training.label,
            "content": training.content,
            "fingerprint": training.fingerprint,
            "models": models,
            "processes": training.processes,
            "selection": training.flags.of_selection(),
            **facts,
        },
    )


def _draw(writer: StageWriter, training: Training, drawn: Draw) -> Stage:
    last, start = drawn.mask_file, drawn.start.file
    words: list[object] = ["ticket", "--mask-from", last, "--start-from", start]
    choice_file = choice_path(training)
    takes_mask = last if drawn.takes_mask else None
    if drawn.pair_masks:
        takes_mask = training.pair_masks_file
    elif drawn.components is not None and drawn.components.kind == "weights":
        takes_mask = choice_file
    elif choice_file:
        words += ["--components", choice_file]
    if takes_mask:
        words += ["--mask-file", takes_mask]
    elif drawn.sparsity or not choice_file:
        words += ["--sparsity", f"{drawn.sparsity:.10g}"]
        words += options.words(drawn, Ranking, place=DRAW)
    if not takes_mask:
        words += options.words(drawn, Prunable, place=DRAW)
    if drawn.start.training.pretrained is not None:
        # the file has the number of its last update, and here it is update 0
        drawn = replace(drawn, update_counter="restart")
    words += options.words(drawn, MaskControl, Reset, place=DRAW)
    words += ["--seed", training.seed, "--out", training.ticket_file, "--overwrite"]
    return Stage(
        kind="draw",
        folder=training.folder,
        title=f"draw the ticket of {training.title}",
        command=writer.lottery(*words),
        needs=planned_files(last, start, choice_file, takes_mask),
        leaves=(training.ticket_file,),
        facts={"sparsity": drawn.sparsity},
    )


def _fairseq_train(
    writer: StageWriter, training: Training, snapshots: list[int]
) -> tuple[str, ...]:
    words: list[object] = list(training.flags.words())
    if training.ticket is not None:
        words += ["--ticket", training.ticket_file]
    if training.pair_masks:
        words += ["--pair-masks", training.pair_masks_file]
    if training.pruning is not None:
        words += options.words(training.pruning, Schedule, Ranking, place=TRAINING)
        if training.pruning.pruner != Pruning.pruner:
            words += options.words(training.pruning, Pruning, place=TRAINING)
        if training.pruning.is_initial:
            words += options.words(training.pruning, ScoreRounds, ScoreBatches, place=TRAINING)
        words += ["--draw-seed", training.seed]
        if training.ticket is None:  # otherwise the ticket defines the prunable set
            words += options.words(training.pruning, Prunable, place=TRAINING)
    if snapshots:
        words += ["--snapshot-updates", ",".join(map(str, snapshots))]
    words += retention_flags(training, writer.configuration)
    return train_env.fairseq_train(
        writer.configuration, writer.executor, training.seed, training.folder, words
    )
