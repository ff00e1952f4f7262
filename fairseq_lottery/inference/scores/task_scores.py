"""Scores of a model on the examples of its task, as rows with a signature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Callable, Optional

import torch

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.inference.evaluation import PairsOfSentences
from fairseq_lottery.inference.loaded_model import Examples, LoadedModel, batches, examples
from fairseq_lottery.inference.scores.labels import POSITIVE
from fairseq_lottery.inference.scores.predictions import Predictions, join

#: criterion -> what its loss is divided by, and what else determines it
_PER = {"masked_lm": "masked-token|masking-seed:1", "sentence_prediction": "example"}
#: metric -> details for its signature, and the package that computes it
_DETAILS = {
    "accuracy": ("", "scikit-learn"),
    "f1": (f"average:binary|positive:{POSITIVE}", "scikit-learn"),
    "f1_macro": ("average:macro", "scikit-learn"),
    "mcc": ("", "scikit-learn"),
    "pearson": ("", "scipy"),
    "spearman": ("", "scipy"),
}


@dataclass(frozen=True)
class Score:
    """A score of a model.

    Attributes:
        metric: name of the metric.
        score: percent, or the loss in nats: per masked token (masked_lm), per token (translation)
            or per example (classes). The loss of a regression is the mean squared error.
        maximise: whether a larger score is better.
        examples: number of examples that were measured.
        subset: subset of the data folder.
        signature: how the score was computed.
        undefined: whether the score is not defined for these predictions, and counts as 0.
    """

    metric: str
    score: float
    maximise: bool
    examples: int
    subset: str
    signature: str
    undefined: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """Return the row of a file of scores."""
        row = asdict(self)
        return row if self.undefined else {k: v for k, v in row.items() if k != "undefined"}


def measure_scores(
    loaded: LoadedModel,
    subset: str = "valid",
    metrics: Sequence[str] = (),
    tokens: int = 4096,
    advance: Callable[[int], Any] = lambda number: None,
) -> list[Score]:
    """Measure a model on all examples of a subset of its data folder.

    Examples that exceed the model's limits are skipped with a warning; ``Score.examples`` does not
    count them, and the signature has their number.

    Args:
        metrics: metrics of the model's task; empty for all that its labels define.
        tokens: maximum tokens of a batch; longer examples are measured alone.
        advance: called with the number of examples after each batch.

    Raises:
        LotteryError: a metric is unknown or not defined for the labels, the subset is missing, or
            the loss is not finite.
    """
    adapter = loaded.source.adapter
    refuse_unknown(metrics, adapter)
    selected = examples(loaded, subset, None)
    loss, size, predictions = _measure(loaded, selected, max(tokens, selected.longest), advance)
    if not math.isfinite(loss):
        raise LotteryError(
            f"the loss of {loaded.source.path} on {subset} is {loss}; its weights have diverged"
        )
    scores: dict[str, Optional[float]] = {**(predictions.scores() if predictions else {})}
    scores["loss"] = loss / size
    names = [name for name in metrics or adapter.metrics if metrics or name in scores]
    for name in names:
        if name not in scores:
            raise LotteryError(
                f"metric {name} is not defined for the labels of {loaded.source.path}; choose one"
                f" of {', '.join(scores)}"
            )
    skipped = len(selected.dataset) - len(selected)
    return [
        Score(
            metric=name,
            score=scores[name] or 0.0,
            maximise=adapter.metrics[name],
            examples=len(selected),
            subset=subset,
            signature=_signature(name, loaded, subset, len(selected), size, skipped),
            undefined=scores[name] is None,
        )
        for name in names
    ]


def refuse_unknown(metrics: Sequence[str], adapter: TaskAdapter) -> None:
    """Refuse metrics that the task of a model does not have."""
    for name in metrics:
        if name not in adapter.metrics:
            raise LotteryError(
                f"metric {name!r} is unknown for the task {adapter.name}; choose one of"
                f" {', '.join(adapter.metrics)}"
            )


def _measure(
    loaded: LoadedModel, selected: Examples, tokens: int, advance: Callable[[int], Any]
) -> tuple[float, int, Optional[Predictions]]:
    """Return the summed loss, the number that it is divided by, and the predictions."""
    loss, size, predicted = 0.0, 0, []
    with torch.no_grad():
        for batch in batches(selected, tokens, loaded.device):
            one, count, predictions = loaded.evaluation.loss_and_predictions(loaded.model, batch)
            loss, size = loss + float(one), size + count
            predicted += [predictions] if predictions is not None else []
            advance(len(batch["id"]))
    return loss, size, join(predicted) if predicted else None


def _signature(
    name: str, loaded: LoadedModel, subset: str, count: int, size: int, skipped: int
) -> str:
    return "|".join(_signed(name, loaded, subset, count, size, skipped))


def _signed(
    name: str, loaded: LoadedModel, subset: str, count: int, size: int, skipped: int
) -> Iterator[str]:
    adapter = loaded.source.adapter
    yield f"metric:{name}"
    if name == "loss":
        translates = isinstance(loaded.evaluation, PairsOfSentences)
        criterion = "cross_entropy" if translates else adapter.criterion
        yield f"criterion:{criterion}|per:{_PER.get(criterion, 'token')}|divided-by:{size}"
    elif _DETAILS[name][0]:
        yield _DETAILS[name][0]
    yield f"task:{adapter.name}|subset:{subset}|examples:{count}"
    if skipped:
        yield f"skipped:{skipped}"
    if name != "loss":
        package = _DETAILS[name][1]
        yield f"{package}:{metadata.version(package)}"
