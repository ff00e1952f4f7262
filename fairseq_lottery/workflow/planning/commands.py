"""Stages: the plan as command lines, each with the files that it reads and writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery import options
from fairseq_lottery.analysis.sweep.settings import Settings
from fairseq_lottery.analysis.workflow.analysis_stage import analysis_stage
from fairseq_lottery.files import sha256_of
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
from fairseq_lottery.workflow.planning import train_env
from fairseq_lottery.workflow.planning.pair_stages import pair_stages
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.retention import retention_flags
from fairseq_lottery.workflow.reading.configuration import Configuration, Evaluation, Translation
from fairseq_lottery.workflow.trainings.draw import Draw
from fairseq_lottery.workflow.trainings.training import Training, planned_files


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
    writers = {c.data_name: _Writer(c, executor) for c in plan.configuration.data_sets}
    by_name: dict[str, Stage] = {}  # trainings may share stages
    for training in plan.trainings:
        writer = writers[training.data]
        evaluated = writer.configuration.evaluations if plan.cells_of(training) else ()
        models = [evaluation.checkpoint for evaluation in evaluated]
        models += ["last"] if training in searched else []
        snapshots = _snapshots(plan, training, read[training])
        stages = [
            *writer.ticket(training),
            writer.train(training, snapshots, list(dict.fromkeys(models)), training in states),
        ]
        for evaluation in evaluated:
            stages += writer.evaluate(training, evaluation)
        for stage in stages:
            by_name.setdefault(stage.name, stage)
    stages = list(by_name.values())
    if plan.configuration.analysis is not None:
        writer = writers[plan.configuration.data_name]
        stages.append(writer.analyze(plan, plan.configuration.analysis, stages))
    return tuple(stages)


def _snapshots(plan: Plan, training: Training, read: set[int]) -> list[int]:
    """Return the updates at which a training writes its weights."""
    if "snapshots" not in plan.configuration.keep or training.adopted is not None:
        return sorted(read)
    requests = plan.configuration_of(training).requests
    rewinds = {t for request in requests for t in request.rewinds}
    every = {*read, 0, *rewinds, training.updates} if training.updates else set()
    return sorted(u for u in every if training.first_update <= u <= training.updates)


class _Writer:
    """Writes command lines for one data set."""

    def __init__(self, configuration: Configuration, executor: str) -> None:
        self.configuration = configuration
        self.executor = executor
        self.python = train_env.interpreter(configuration)
        self.device = () if configuration.resources.gpus else ("--cpu",)
        #: starts of file names -> file -> SHA-256
        self.sentences: dict[tuple[str, ...], dict[str, Optional[str]]] = {}

    def ticket(self, training: Training) -> Iterator[Stage]:
        """Yield the stages that choose what a training prunes, and draw its ticket."""
        where = ("--data", str(self.configuration.data), *self.device)
        yield from choice_stages(training, self.lottery, where)
        yield from pair_stages(training, self.lottery)
        if training.ticket is not None and training.is_drawn:
            yield self.draw(training, training.ticket)

    def draw(self, training: Training, drawn: Draw) -> Stage:
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
            command=self.lottery(*words),
            needs=planned_files(last, start, choice_file, takes_mask),
            leaves=(training.ticket_file,),
            facts={"sparsity": drawn.sparsity},
        )

    def train(
        self, training: Training, snapshots: list[int], models: list[str], keeps_state: bool
    ) -> Stage:
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
            command = self.module("fairseq_lottery.workflow.stages.adopt", *(
                *("--run", run, "--out", training.folder, "--updates", *snapshots),
                *("--last", training.updates, "--models", *models),
                *("--data", self.configuration.data, "--task", training.task.name),
                *train_env.data_flags(self.configuration).words(),
            ))  # fmt: skip
        elif not training.updates and training.ticket is not None:
            kind, title = "close", f"prune the model of {training.title}"
            words, needs = prune_words(training, models)
            command = self.module("fairseq_lottery.heads.workflow.prune_stage", *words)
        else:
            command = self.fairseq_train(training, snapshots)
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

    def fairseq_train(self, training: Training, snapshots: list[int]) -> tuple[str, ...]:
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
        words += retention_flags(training, self.configuration)
        return train_env.fairseq_train(
            self.configuration, self.executor, training.seed, training.folder, words
        )

    def evaluate(self, training: Training, evaluation: Evaluation) -> Iterator[Stage]:
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
            yield self.measure(training, evaluation, words, needs, facts)
            return
        if training.pair_masks:
            words += ["--pair-mask", evaluation.pair_mask or evaluation.pair]
        generate = self.generate(training, evaluation, folder)
        yield generate
        references, metrics = evaluation.references, self.configuration.metrics
        commands = self.configuration.score_commands
        words = ["--translations", *generate.leaves, "--out", folder, "--references", references,
                 *words, "--metrics", *metrics]  # fmt: skip
        words += [word for pair in commands.items() for word in ("--score-command", *pair)]
        yield Stage(
            kind="score",
            folder=folder,
            title=f"score {training.title}, {evaluation.name}",
            command=self.module("fairseq_lottery.workflow.stages.score", *words),
            needs=(*generate.leaves, *needs),
            leaves=(f"{folder}/scores.jsonl", f"{folder}/hypotheses.txt"),
            facts={
                **facts,
                "references": str(references),
                "settings": {
                    **generate.facts["settings"],
                    "metrics": list(metrics),
                    "score_commands": commands,
                    "references": _digest(references),
                },
            },
        )

    def measure(
        self,
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
        folder, metrics = f"{training.folder}/{evaluation.name}", self.configuration.metrics
        where = ["--data", self.configuration.data, "--subset", evaluation.subset, *self.device]
        return Stage(
            kind="score",
            folder=folder,
            title=f"measure {training.title}, {evaluation.name}",
            command=self.module(
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
                    "sentences": self.digests(evaluation.subset),
                },
            },
        )

    def generate(self, training: Training, evaluation: Translation, folder: str) -> Stage:
        model = training.model(evaluation.checkpoint)
        words: list[object] = [*train_env.task_words(self.configuration), "--path", model]
        words += ["--gen-subset", evaluation.subset]
        words += ["--beam", evaluation.beam, "--lenpen", f"{evaluation.lenpen:g}"]
        # by default fairseq drops sentences that do not fill a batch of a multiple of eight
        words += ["--required-batch-size-multiple", 1, "--results-path", folder]
        words += [*train_env.translation_flags(self.configuration), *evaluation.pair_words]
        settings: dict[str, Any] = {"flags": self.configuration.generate.words()}
        if training.pair_masks and evaluation.pair_mask:
            words += ["--pair-mask", evaluation.pair_mask]
            settings["pair_mask"] = evaluation.pair_mask
        return Stage(
            kind="generate",
            folder=folder,
            title=f"translate with {training.title}, {evaluation.name}",
            command=self.module("fairseq_cli.generate", *words),
            needs=(model,),
            leaves=(f"{folder}/generate-{evaluation.subset}.txt",),
            # settings that decide a translation and are not in its folder's name
            facts={
                "settings": {**settings, "sentences": self.digests(*evaluation.file_stems)},
            },
        )

    def analyze(self, plan: Plan, settings: Settings, stages: Sequence[Stage]) -> Stage:
        """Return the stage that analyzes the selected models of all cells."""
        trainings = dict.fromkeys(cell.training for cell in plan.cells)
        selected = self.configuration.evaluations[0].checkpoint
        labels = {file: _digest(Path(file)) for file in settings.labels.values()}
        return analysis_stage(
            settings,
            [training.model(selected) for training in trainings],
            [stage.leaves[0] for stage in stages if stage.kind == "score"],
            self.lottery,
            ("--data", str(self.configuration.data), *self.device),
            {**self.digests(settings.subset), **labels},
        )

    def digests(self, *stems: str) -> dict[str, Optional[str]]:
        """Return the SHA-256 of each file of a test set.

        Args:
            stems: starts of the names of its files; a dot follows them.
        """
        if stems not in self.sentences:
            data, kinds = self.configuration.data, (".bin", ".idx", ".label")
            folders = [data / folder for folder in self.configuration.task.folders]
            files = [p for f in folders for stem in stems for p in sorted(f.glob(f"{stem}.*"))]
            self.sentences[stems] = {
                path.relative_to(data).as_posix(): _digest(path)
                for path in files
                if path.suffix in kinds
            }
        return self.sentences[stems]

    def lottery(self, *words: object) -> tuple[str, ...]:
        return self.module("fairseq_lottery.cli.main", *words)

    def module(self, name: str, *words: object) -> tuple[str, ...]:
        return (self.python, "-m", name, *map(str, words))


def _digest(path: Path) -> Optional[str]:
    """Return the SHA-256 of a file; None if it does not exist yet."""
    return sha256_of(path) if path.is_file() else None
