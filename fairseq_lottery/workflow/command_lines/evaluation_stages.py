"""Stages that evaluate a training: they translate and score, or measure its model on examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairseq_lottery.heads.workflow.choice_stages import choice_path
from fairseq_lottery.records.plan import Stage
from fairseq_lottery.workflow.command_lines import train_env
from fairseq_lottery.workflow.command_lines.stage_writer import StageWriter, digest_of
from fairseq_lottery.workflow.reading.configuration import Evaluation, Translation
from fairseq_lottery.workflow.trainings.training import Training


def evaluation_stages(
    writer: StageWriter, training: Training, evaluation: Evaluation
) -> Iterator[Stage]:
    """Yield the stages that evaluate a training."""
    model = training.model(evaluation.checkpoint)
    folder = f"{training.folder}/{evaluation.name}"
    words: list[object] = ["--model", model, "--sparsity", f"{training.sparsity:.10g}"]
    needs = [model]
    choice = training.components
    if choice is not None:
        choice_file = str(choice_path(training))
        needs.append(choice_file)
        words += ["--components", choice_file, "--kind", choice.kind]
        words += [] if choice.share_pruned is None else ["--share", f"{choice.share:.10g}"]
    facts: dict[str, Any] = {"evaluation": {"name": evaluation.name, **evaluation.settings}}
    if not isinstance(evaluation, Translation):
        yield _measure(writer, training, evaluation, words, needs, facts)
        return
    if training.pair_masks:
        words += ["--pair-mask", evaluation.pair_mask or evaluation.pair]
    generate = _generate(writer, training, evaluation, folder)
    yield generate
    references, metrics = evaluation.references, writer.configuration.metrics
    commands = writer.configuration.score_commands
    words = ["--translations", *generate.leaves, "--out", folder, "--references", references,
             *words, "--metrics", *metrics]  # fmt: skip
    words += [word for pair in commands.items() for word in ("--score-command", *pair)]
    yield Stage(
        kind="score",
        folder=folder,
        title=f"score {training.title}, {evaluation.name}",
        command=writer.module("fairseq_lottery.workflow.stages.score", *words),
        needs=(*generate.leaves, *needs),
        leaves=(f"{folder}/scores.jsonl", f"{folder}/hypotheses.txt"),
        facts={
            **facts,
            "references": str(references),
            "settings": {
                **generate.facts["settings"],
                "metrics": list(metrics),
                "score_commands": commands,
                "references": digest_of(references),
            },
        },
    )


def _generate(
    writer: StageWriter, training: Training, evaluation: Translation, folder: str
) -> Stage:
    model = training.model(evaluation.checkpoint)
    words: list[object] = [*train_env.task_words(writer.configuration), "--path", model]
    words += ["--gen-subset", evaluation.subset]
    words += ["--beam", evaluation.beam, "--lenpen", f"{evaluation.lenpen:g}"]
    # by default fairseq drops sentences that do not fill a batch of a multiple of eight
    words += ["--required-batch-size-multiple", 1, "--results-path", folder]
    words += [*train_env.translation_flags(writer.configuration), *evaluation.pair_words]
    settings: dict[str, Any] = {"flags": writer.configuration.generate.words()}
    if training.pair_masks and evaluation.pair_mask:
        words += ["--pair-mask", evaluation.pair_mask]
        settings["pair_mask"] = evaluation.pair_mask
    return Stage(
        kind="generate",
        folder=folder,
        title=f"translate with {training.title}, {evaluation.name}",
        command=writer.module("fairseq_cli.generate", *words),
        needs=(model,),
        leaves=(f"{folder}/generate-{evaluation.subset}.txt",),
        # settings that decide a translation and are not in its folder's name
        facts={
            "settings": {**settings, "sentences": writer.digests(*evaluation.file_stems)},
        },
    )


def _measure(
    writer: StageWriter,
    training: Training,
    evaluation: Evaluation,
    words: list[object],
    needs: list[str],
    facts: dict[str, Any],
) -> Stage:
    """Return the stage that measures a model on examples of its task.

    Args:
        words, needs, facts: those of every stage that scores the training.
    """
    folder, metrics = f"{training.folder}/{evaluation.name}", writer.configuration.metrics
    where = ["--data", writer.configuration.data, "--subset", evaluation.subset, *writer.device]
    return Stage(
        kind="score",
        folder=folder,
        title=f"measure {training.title}, {evaluation.name}",
        command=writer.module(
            "fairseq_lottery.workflow.stages.score_examples",
            *(*words, *where, "--metrics", *metrics, "--out", folder),
        ),
        needs=tuple(needs),
        leaves=(f"{folder}/scores.jsonl",),
        facts={
            **facts,
            "runs_model": True,
            "settings": {
                "metrics": list(metrics),
                "sentences": writer.digests(evaluation.subset),
            },
        },
    )
