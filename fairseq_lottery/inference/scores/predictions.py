"""Predictions of labelled examples, and their scores in percent by scikit-learn and scipy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery.environment import require

#: metrics of labelled examples
METRICS = frozenset({"accuracy", "f1", "f1_macro", "mcc", "pearson", "spearman"})


@dataclass(frozen=True)
class Predictions:
    """Predicted and true classes or numbers of examples, in one order.

    Attributes:
        predicted: numbers of classes from 0, or real numbers of a regression.
        true: the labels, in the same form.
        is_regression: whether the values are real numbers.
        positive: number of the positive class of ``f1``; None if there is none.
    """

    predicted: np.ndarray
    true: np.ndarray
    is_regression: bool
    positive: Optional[int] = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of the scores."""
        if self.is_regression:
            return "pearson", "spearman"
        return ("accuracy", *(() if self.positive is None else ("f1",)), "f1_macro", "mcc")

    def scores(self) -> dict[str, Optional[float]]:
        """Return metric -> score in percent; None if the score is undefined.

        Classification: ``accuracy``; ``f1`` of the positive class, if there is one; ``f1_macro``,
        the unweighted mean over the classes that occur; and ``mcc``, the correlation coefficient of
        Matthews. As in scikit-learn, F1 is 0 for a class that is never predicted right, and ``mcc``
        is 0 if all predictions or all labels are the same. Regression: ``pearson`` and
        ``spearman``, undefined if all predictions or all labels are the same.
        """
        return self._correlations() if self.is_regression else self._agreement()

    def _agreement(self) -> dict[str, Optional[float]]:
        require("sklearn")
        from sklearn.metrics import f1_score, matthews_corrcoef

        predicted, true = self.predicted, self.true
        scores: dict[str, Optional[float]] = {"accuracy": 100 * float((predicted == true).mean())}
        if self.positive is not None:
            positive = {"labels": [self.positive], "average": "micro", "zero_division": 0}
            scores["f1"] = 100 * float(f1_score(true, predicted, **positive))
        scores["f1_macro"] = 100 * float(
            f1_score(true, predicted, average="macro", zero_division=0)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single class
            scores["mcc"] = 100 * float(matthews_corrcoef(true, predicted))
        return scores

    def _correlations(self) -> dict[str, Optional[float]]:
        require("scipy")
        from scipy.stats import pearsonr, spearmanr

        predicted, true = (values.astype(np.float64) for values in (self.predicted, self.true))
        if any(len(np.unique(values)) < 2 for values in (predicted, true)):
            return {"pearson": None, "spearman": None}
        return {
            "pearson": 100 * float(pearsonr(predicted, true)[0]),
            "spearman": 100 * float(spearmanr(predicted, true)[0]),
        }


@contextmanager
def captured_output(model: Any) -> Iterator[list[Any]]:
    """Yield a list that gets the output of every call of ``model`` inside the context."""
    outputs: list[Any] = []
    handle = model.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def predict(
    output: Any, batch: Mapping[str, Any], is_regression: bool, positive: Optional[int]
) -> Predictions:
    """Return the predictions of a batch from the output of its model."""
    logits: Tensor = output[0].detach()
    predicted = logits if is_regression else logits.argmax(dim=-1)
    kind = torch.float32 if is_regression else torch.int32
    values = [tensor.reshape(-1).to("cpu", kind).numpy() for tensor in (predicted, batch["target"])]
    return Predictions(values[0], values[1], is_regression, positive)


def join(batches: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several batches, in their order."""
    predicted = np.concatenate([batch.predicted for batch in batches])
    true = np.concatenate([batch.true for batch in batches])
    return replace(batches[0], predicted=predicted, true=true)
