"""The stages: one command each, run in the demo's folder, from text to translations."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import fairseq_lottery
from fairseq_lottery.demo.plan import PARTS, PRUNING, TICKETS, Recipe, Run, runs

USER_DIR = str(Path(fairseq_lottery.__file__).resolve().parent)
PLUGIN = ("--user-dir", USER_DIR, "--task", "translation_lottery", "--cpu", "--num-workers", "0")
# without it fairseq drops what does not fill a multiple of eight sentences, and says nothing
KEEP_ALL = ("--required-batch-size-multiple", "1")


@dataclass(frozen=True)
class Stage:
    """One command, where it writes, what it needs, and how a finished one is known.

    Attributes:
        folder: its own folder, emptied before it starts.
        proof: a file, and words near its end that only a finished stage leaves there.
        needs: names of the stages whose files it reads.
        updates: how many updates a training has, 0 for what is no training.
    """

    name: str
    title: str
    folder: str
    command: tuple[str, ...]
    proof: tuple[str, str]
    needs: tuple[str, ...] = ()
    updates: int = 0

    @property
    def log(self) -> str:
        """Where its output goes."""
        return f"logs/{self.name}.log"


def stages(recipe: Recipe) -> tuple[Stage, ...]:
    """All stages in the order to start them: trainings first, translations in the gaps."""
    trainings = [_training(recipe, run) for run in runs()]
    translations = [_translation(recipe, run) for run in runs()]
    return (_text(recipe), _subwords(recipe), _data(), *trainings, *translations)


def _python(module: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *map(str, arguments))


def _text(recipe: Recipe) -> Stage:
    sizes = [f"{part}={size}" for part, size in PARTS.items()]
    return Stage(
        name="text",
        title="parallel text",
        folder="text",
        command=_python(
            "fairseq_lottery.demo.text", "--seed", recipe.seed, "--out", "text", "--sizes", *sizes
        ),
        proof=("logs/text.log", "wrote text"),
    )


def _subwords(recipe: Recipe) -> Stage:
    return Stage(
        name="subwords",
        title="subwords",
        folder="subwords",
        command=_python(
            "fairseq_lottery.demo.subwords",
            *("--text", "text", "--vocabulary", recipe.vocabulary, "--out", "subwords"),
        ),
        proof=("logs/subwords.log", "wrote subwords"),
        needs=("text",),
    )


def _data() -> Stage:
    parts = [flag for part in PARTS for flag in (f"--{part}pref", f"subwords/{part}")]
    return Stage(
        name="data",
        title="fairseq-preprocess",
        folder="data",
        command=_python(
            "fairseq_cli.preprocess",
            *("--source-lang", "en", "--target-lang", "de", "--joined-dictionary"),
            *("--destdir", "data", *parts),
        ),
        proof=("logs/data.log", "Wrote preprocessed data to data"),
        needs=("subwords",),
    )


def _training(recipe: Recipe, run: Run) -> Stage:
    folder = f"models/{run.name}"
    return Stage(
        name=f"train-{run.name}",
        title=f"train {_title(run)}",
        folder=folder,
        command=_python(
            "fairseq_cli.train",
            *("data", *PLUGIN, *KEEP_ALL, "--save-dir", folder, "--seed", recipe.seed),
            *_model(recipe),
            *_optimization(recipe),
            *("--snapshot-updates", recipe.rewind),
            *_sparsity(recipe, run),
        ),
        proof=(f"logs/train-{run.name}.log", "done training in"),
        needs=("data", f"train-{run.parent}") if run.parent else ("data",),
        updates=recipe.updates,
    )


def _model(recipe: Recipe) -> list[object]:
    flags: list[object] = ["--arch", "transformer", "--share-all-embeddings", "--dropout", "0"]
    for part in ("encoder", "decoder"):
        flags += [f"--{part}-layers", recipe.layers, f"--{part}-embed-dim", recipe.width]
        flags += [f"--{part}-ffn-embed-dim", recipe.ffn]
        flags += [f"--{part}-attention-heads", recipe.heads, f"--{part}-normalize-before"]
    return flags


def _optimization(recipe: Recipe) -> list[object]:
    # one validation and one checkpoint, at the end: nothing is chosen on the way
    return [
        *("--optimizer", "masked_adam", "--adam-betas", "(0.9, 0.98)", "--lr", recipe.rate),
        *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", recipe.warmup),
        *("--criterion", "label_smoothed_cross_entropy_lottery", "--label-smoothing", "0.1"),
        *("--max-tokens", recipe.tokens, "--max-update", recipe.updates),
        *("--validate-interval", "1000", "--save-interval", "1000", "--no-epoch-checkpoints"),
        *("--log-format", "simple", "--log-interval", "25"),
    ]


def _sparsity(recipe: Recipe, run: Run) -> list[object]:
    if run.method == PRUNING:
        # the core paper's schedule: cubic over the first 80 %, a step every 2 %
        return [
            *("--prune-to", run.sparsity / 100, "--prune-schedule", "cubic"),
            *("--prune-start", 0, "--prune-end", recipe.updates * 4 // 5),
            *("--prune-every", recipe.updates // 50),
        ]
    if run.method not in TICKETS:
        return []
    parent = f"models/{run.parent}"
    return [
        *("--mask-from", f"{parent}/checkpoint_last.pt"),
        *("--start-from", f"{parent}/snapshot_{recipe.rewind}.safetensors"),
        *("--sparsity", run.sparsity / 100, "--scope", "layer", *TICKETS[run.method]),
        *("--draw-seed", recipe.seed),
    ]


def _translation(recipe: Recipe, run: Run) -> Stage:
    folder = f"translations/{run.name}"
    return Stage(
        name=f"translate-{run.name}",
        title=f"translate with {_title(run)}",
        folder=folder,
        command=_python(
            "fairseq_cli.generate",
            *("data", *PLUGIN, *KEEP_ALL, "--path", f"models/{run.name}/checkpoint_last.pt"),
            *("--results-path", folder, "--remove-bpe", "sentencepiece"),
            *("--beam", recipe.beam, "--max-tokens", "4000"),
        ),
        proof=(f"{folder}/generate-test.txt", "Generate test with beam"),
        needs=(f"train-{run.name}",),
    )


def _title(run: Run) -> str:
    return f"{run.method}, {run.sparsity} %" if run.sparsity else run.method
