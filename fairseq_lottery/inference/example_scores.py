"""Scores of a model on all examples of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.evaluation import ExamplesOfTask
from fairseq_lottery.inference.loaded_model import Examples, LoadedModel, batches, examples
from fairseq_lottery.inference.predictions import join

#: tokens of a batch, which the longest example may exceed
TOKENS = 4096


@dataclass(frozen=True)
class ExampleScore:
    """A score of a model on examples.

    Attributes:
        score: losses in nats per token, or per example of a classifier; all else in percent. A
            correlation is 0 where it is undefined, because all predictions are the same.
        maximise: whether a larger score is better.
        signature: settings that the score depends on.
    """

    metric: str
    score: float
    maximise: bool
    examples: int
    subset: str
    signature: str


def score_examples(
    loaded: LoadedModel, subset: str, metrics: Sequence[str], tokens: int = TOKENS
) -> list[ExampleScore]:
    """Score a model by metrics of its task on every example of a subset.

    Args:
        tokens: tokens of a batch, unless the longest example has more.

    Raises:
        LotteryError: a metric is unknown, the subset is missing or has no labels, or an example
            exceeds the model's limits.
    """
    evaluation = loaded.evaluation
    known = evaluation.metrics
    for name in metrics:
        if name not in known or name == "bleu":
            choices = ", ".join(metric for metric in known if metric != "bleu")
            raise LotteryError(
                f"metric {name!r} is unknown for {loaded.source.path}; choose one of {choices}"
            )
    selected = examples(loaded, subset, None)
    if len(selected) < len(selected.dataset):
        raise LotteryError(
            f"{len(selected.dataset) - len(selected)} of {len(selected.dataset)} examples of"
            f" {subset} exceed the model's limits, and a score covers all; shorten or remove them"
        )
    tokens = max(tokens, selected.longest)
    scores: dict[str, float] = {}
    if "loss" in metrics:
        scores["loss"] = _loss(loaded, selected, tokens)
    if set(metrics) - {"loss"}:
        scores.update(_predicted(loaded, selected, tokens))
    signature = f"fairseq_lottery|task:{loaded.source.adapter.name}"
    return [
        ExampleScore(name, scores[name], known[name], len(selected), subset, signature)
        for name in metrics
    ]


@torch.no_grad()
def _loss(loaded: LoadedModel, selected: Examples, tokens: int) -> float:
    """Return the loss per token, or per example of a classifier."""
    total = count = 0.0
    for batch in batches(selected, tokens, loaded.device):
        loss, size, _ = loaded.evaluation.loss(loaded.model, batch)
        total, count = total + float(loss), count + size
    if not count:
        raise LotteryError("the examples have no tokens to predict; give another --subset")
    return total / count


@torch.no_grad()
def _predicted(loaded: LoadedModel, selected: Examples, tokens: int) -> dict[str, float]:
    """Return the scores of the predictions of a classifier; 0 for an undefined one."""
    evaluation = loaded.evaluation
    assert isinstance(evaluation, ExamplesOfTask), "only these have predictions"
    predictions = join(
        [
            evaluation.predict(loaded.model, batch)
            for batch in batches(selected, tokens, loaded.device)
        ]
    )
    return {name: score or 0.0 for name, score in predictions.scores().items()}
