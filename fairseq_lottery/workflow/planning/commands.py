"""Stages: the plan as command lines, each with the files it reads and the files it leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery import options
from fairseq_lottery.files import sha256_of
from fairseq_lottery.heads.workflow.closing_stages import closing_stages, parts_file
from fairseq_lottery.options import DRAW, TRAINING, Prunable, Ranking, Reset, Schedule
from fairseq_lottery.workflow.planning.plan import Plan
from fairseq_lottery.workflow.planning.retention import retention_flags
from fairseq_lottery.workflow.planning.stage import Stage, stage_name
from fairseq_lottery.workflow.planning.train_env import (
    data_flags,
    fairseq_train,
    interpreter,
    task_words,
    translation_flags,
)
from fairseq_lottery.workflow.reading.configuration import Configuration, Evaluation, Translation
from fairseq_lottery.workflow.trainings.training import Draw, Growth, Training, model_file


def make_stages(
    plan: Plan, executor: str = "local", wanted: Optional[Collection[str]] = None
) -> tuple[Stage, ...]:
    """All stages of a plan, those that others need first.

    Args:
        wanted: folders of the trainings that are asked for, all unless given: an adopted run has
            the checkpoints that it has, so it is asked for no others than these need.
    """
    asked = {
        ancestor
        for training in plan.trainings
        if wanted is None or training.folder in wanted
        for ancestor in training.ancestors()
    }
    read: dict[Training, set[int]] = defaultdict(set)  # at which updates weights are read
    for training in plan.trainings:
        drawn = training.ticket
        if drawn is not None and training.updates:
            for source, update in (
                (drawn.mask_from, drawn.mask_from.updates),
                (drawn.start.training, drawn.start.update),
            ):
                if source.adopted is None or training in asked:
                    read[source].add(update)
    looked_at = {parts.of for parts in plan.closings}
    writer = _Writer(plan.configuration, executor)
    found: dict[str, Stage] = {}  # by name: several trainings may share one
    for training in plan.trainings:
        updates = sorted(read[training])
        if "snapshots" in plan.configuration.keep and training.adopted is None:
            rewinds = {request.rewind for request in plan.configuration.requests}
            all_of_them = {*updates, 0, *rewinds, training.updates}
            first = _first_update(training)
            updates = sorted(u for u in all_of_them if first <= u <= training.updates)
            updates = updates if training.updates else []
        is_cell = bool(plan.cells_of(training))
        models = models_of(plan.configuration.evaluations) if is_cell else []
        if training in looked_at and "last" not in models:
            models.append("last")
        stages = [*writer.ticket(training), writer.train(training, updates, models)]
        if is_cell:
            for evaluation in plan.configuration.evaluations:
                stages += writer.evaluate(training, evaluation)
        found.update({stage.name: stage for stage in stages if stage.name not in found})
    return tuple(found.values())


class _Writer:
    """Writes command lines for one configuration."""

    def __init__(self, configuration: Configuration, executor: str) -> None:
        self.configuration = configuration
        self.executor = executor
        self.python = interpreter(configuration)
        self.sentences: dict[str, dict[str, Optional[str]]] = {}  # subset -> file -> SHA-256

    def ticket(self, training: Training) -> Iterator[Stage]:
        """What leads to the ticket of a training; one that is not trained has no ticket."""
        where = ("--data", self.data(), *self.device())
        yield from closing_stages(training, self.lottery, where)
        if training.ticket is not None and training.updates:
            yield self.draw(training, training.ticket)

    def draw(self, training: Training, drawn: Draw) -> Stage:
        last = f"{drawn.mask_from.folder}/snapshot_{drawn.mask_from.updates}.safetensors"
        start = f"{drawn.start.training.folder}/snapshot_{drawn.start.update}.safetensors"
        words: list[object] = ["ticket", "--mask-from", last, "--start-from", start]
        closes = parts_file(training)
        takes_mask = last if drawn.takes_mask else None
        if drawn.parts is not None and drawn.parts.kind == "weights":
            takes_mask = closes
        elif closes:
            words += ["--parts", closes]
        if takes_mask:
            words += ["--mask-file", takes_mask]
        elif drawn.sparsity or not closes:
            words += ["--sparsity", f"{drawn.sparsity:.10g}"]
            words += options.words(drawn, Ranking, place=DRAW)
        if not takes_mask:
            words += options.words(drawn, Prunable, place=DRAW)
        ticket = f"{training.folder}/ticket.safetensors"
        words += options.words(drawn, Reset, place=DRAW)
        words += ["--seed", training.seed, "--out", ticket, "--overwrite"]
        return Stage(
            name=stage_name("draw", training.folder),
            kind="draw",
            folder=training.folder,
            title=f"draw the ticket of {_title(training)}",
            command=self.lottery(*words),
            needs=tuple(dict.fromkeys((last, start, *filter(None, [closes])))),
            leaves=(ticket,),
            facts={"sparsity": drawn.sparsity},
        )

    def train(self, training: Training, snapshots: list[int], models: list[str]) -> Stage:
        folder, closes = training.folder, parts_file(training)
        files = [f"{folder}/snapshot_{update}.safetensors" for update in snapshots]
        ticket = f"{folder}/ticket.safetensors"
        needs = [ticket] if training.ticket is not None else []
        kind, title = "train", f"train {_title(training)}"
        command = self.fairseq_train(training, snapshots)
        facts: dict[str, Any] = {}
        if training.parts is not None:
            parts = training.parts
            facts["parts"] = {"file": closes, "kind": parts.kind, "share": parts.share_closed}
            needs.append(str(closes))
        if training.adopted is not None and training.ticket is None and training.growth is None:
            kind, title = "adopt", "adopt the dense run"
            asked = {"run": training.adopted[0], "updates": snapshots, "last": training.updates}
            facts["adopts"] = asked
            words = ["--run", training.adopted[0], "--out", folder]
            words += ["--updates", *map(str, snapshots), "--last", str(training.updates)]
            words += ["--models", *models, "--data", self.data(), "--task", training.task.name]
            words += data_flags(self.configuration).words()
            command = self.module("fairseq_lottery.workflow.stages.adopt", *words)
        elif not training.updates and training.ticket is not None:
            kind, title = "close", f"close the parts of {_title(training)}"
            pairs = [
                (_closed_model(training.ticket, model), f"{folder}/{model_file(model)}")
                for model in models
            ]
            needs = [str(closes), *dict.fromkeys(model for model, _ in pairs)]
            pruned = training.parts is not None and training.parts.kind == "weights"
            words = ["--mask" if pruned else "--parts", str(closes)]
            words += [word for pair in pairs for word in ("--close", *pair)]
            command = self.module("fairseq_lottery.heads.workflow.close_stage", *words)
        return Stage(
            name=stage_name(kind, folder),
            kind=kind,
            folder=folder,
            title=title,
            command=command,
            needs=tuple(needs),
            leaves=(*files, *(f"{folder}/{model_file(model)}" for model in models)),
            facts={
                "updates": training.updates,
                "first_update": _first_update(training),
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
            words += ["--ticket", f"{training.folder}/ticket.safetensors"]
        if training.growth is not None:
            words += _growing(training.growth, training.seed, training.ticket is not None)
        if snapshots:
            words += ["--snapshot-updates", ",".join(map(str, snapshots))]
        words += retention_flags(training, self.configuration)
        return fairseq_train(
            self.configuration, self.executor, training.seed, training.folder, words
        )

    def evaluate(self, training: Training, evaluation: Evaluation) -> Iterator[Stage]:
        """What leads to the figures of a cell."""
        if isinstance(evaluation, Translation):
            yield self.generate(training, evaluation)
            yield self.score(training, evaluation)
        else:
            yield self.validation(training, evaluation)

    def validation(self, training: Training, evaluation: Evaluation) -> Stage:
        folder = f"{training.folder}/{evaluation.name}"
        model = f"{training.folder}/{evaluation.model}"
        words = [*_model_words(training, evaluation), "--out", folder]
        return Stage(
            name=stage_name("score", folder),
            kind="score",
            folder=folder,
            title=f"read the validation of {_title(training)}, {evaluation.name}",
            command=self.module("fairseq_lottery.workflow.stages.validation", *words),
            needs=(model, *filter(None, [parts_file(training)])),
            leaves=(f"{folder}/scores.jsonl",),
            facts={"evaluation": {"name": evaluation.name, **evaluation.settings}},
        )

    def generate(self, training: Training, evaluation: Translation) -> Stage:
        folder = f"{training.folder}/{evaluation.name}"
        model = f"{training.folder}/{evaluation.model}"
        words: list[object] = [*task_words(self.configuration), "--path", model]
        words += ["--gen-subset", evaluation.subset]
        words += ["--beam", evaluation.beam, "--lenpen", f"{evaluation.lenpen:g}"]
        # without it fairseq drops what does not fill a multiple of eight sentences
        words += ["--required-batch-size-multiple", 1, "--results-path", folder]
        words += translation_flags(self.configuration)
        words += self.device()
        return Stage(
            name=stage_name("generate", folder),
            kind="generate",
            folder=folder,
            title=f"translate with {_title(training)}, {evaluation.name}",
            command=self.module("fairseq_cli.generate", *words),
            needs=(model,),
            leaves=(f"{folder}/generate-{evaluation.subset}.txt",),
            facts={"settings": self.translation(evaluation)},
        )

    def score(self, training: Training, evaluation: Translation) -> Stage:
        folder = f"{training.folder}/{evaluation.name}"
        translations = f"{folder}/generate-{evaluation.subset}.txt"
        words: list[object] = ["--translations", translations, "--out", folder]
        words += ["--references", evaluation.references]
        words += _model_words(training, evaluation)
        words += ["--metrics", *self.configuration.metrics]
        for name, command in self.configuration.score_commands.items():
            words += ["--score-command", name, command]
        return Stage(
            name=stage_name("score", folder),
            kind="score",
            folder=folder,
            title=f"score {_title(training)}, {evaluation.name}",
            command=self.module("fairseq_lottery.workflow.stages.score", *words),
            needs=(
                *(translations, f"{training.folder}/{evaluation.model}"),
                *filter(None, [parts_file(training)]),
            ),
            leaves=(f"{folder}/scores.jsonl", f"{folder}/hypotheses.txt"),
            facts={
                "evaluation": {"name": evaluation.name, **evaluation.settings},
                "references": str(evaluation.references),
                "settings": {
                    **self.translation(evaluation),
                    "metrics": list(self.configuration.metrics),
                    "score_commands": self.configuration.score_commands,
                    "references": _digest(evaluation.references),
                },
            },
        )

    def translation(self, evaluation: Translation) -> dict[str, Any]:
        """What decides a translation besides its folder's name."""
        subset = evaluation.subset
        if subset not in self.sentences:
            files = sorted(self.configuration.data.glob(f"{subset}.*"))
            kinds = (".bin", ".idx")
            self.sentences[subset] = {p.name: _digest(p) for p in files if p.suffix in kinds}
        return {
            "flags": self.configuration.generate.words(),
            "sentences": self.sentences[subset],
        }

    def data(self) -> str:
        return str(self.configuration.data)

    def device(self) -> tuple[str, ...]:
        return () if self.configuration.resources.gpus else ("--cpu",)

    def lottery(self, *words: object) -> tuple[str, ...]:
        return self.module("fairseq_lottery.cli.main", *words)

    def module(self, name: str, *words: object) -> tuple[str, ...]:
        return (self.python, "-m", name, *map(str, words))


def models_of(evaluations: Sequence[Evaluation]) -> list[str]:
    """The checkpoints that evaluations name, each once."""
    return list(dict.fromkeys(evaluation.checkpoint for evaluation in evaluations))


def _closed_model(drawn: Draw, model: str) -> str:
    """The model whose parts are closed in the place of ``best``, ``last`` or ``average:N``.

    Of a run whose gates learn only the last one has settled.
    """
    learned = drawn.parts is not None and drawn.parts.measure == "gates"
    return f"{drawn.mask_from.folder}/{model_file('last' if learned else model)}"


def _digest(path: Path) -> Optional[str]:
    """SHA-256 of a file; None where it is not there yet."""
    return sha256_of(path) if path.is_file() else None


def _growing(growth: Growth, seed: int, on_ticket: bool) -> list[object]:
    words: list[object] = [*options.words(growth, Schedule, Ranking, place=TRAINING)]
    words += ["--draw-seed", seed]
    if not on_ticket:  # which says itself what is prunable
        words += options.words(growth, Prunable, place=TRAINING)
    return words


def _first_update(training: Training) -> int:
    drawn = training.ticket
    return drawn.start.update if drawn is not None and drawn.clock == "rewind" else 0


def _title(training: Training) -> str:
    return f"{training.label}, seed {training.seed}"


def _model_words(training: Training, evaluation: Evaluation) -> list[object]:
    """Return the arguments of ``stages.chosen`` that name a model and what it has to have lost."""
    words: list[object] = ["--model", f"{training.folder}/{evaluation.model}"]
    words += ["--sparsity", f"{training.sparsity:.10g}"]
    if training.parts is not None:
        words += ["--parts", parts_file(training), "--kind", training.parts.kind]
        if training.parts.share_closed is not None:
            words += ["--share", f"{training.parts.share:.10g}"]
    return words
