"""fairseq's losses, extended to log metrics of the mask, the survivors and the predictions."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from fairseq.logging import meters, metrics

from fairseq_lottery.environment import require
from fairseq_lottery.errors import one_sentence
from fairseq_lottery.inference.scores.labels import class_names, positive_class
from fairseq_lottery.inference.scores.predictions import Predictions, captured_output, join, predict


class LogsMetrics:
    """Mixin for a fairseq criterion that logs metrics and leaves the loss bit-identical.

    The metrics come from ``LotteryRun.metrics_to_log`` and describe the weights of a forward pass:
    the last one of each ``--log-interval``, or that of a validation.
    """

    task: Any

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """Return fairseq's loss, and log the metrics of the run."""
        run = getattr(self.task, "run", None)
        if run is not None:
            for name, value in run.metrics_to_log(model.training).items():
                metrics.log_scalar(name, value, weight=0, priority=1000, round=4)
        return super().forward(model, sample, reduce)  # type: ignore[misc]


@register_criterion(
    "label_smoothed_cross_entropy_lottery", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class LabelSmoothedCrossEntropyLottery(LogsMetrics, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed loss of translation; see ``LogsMetrics``."""


@register_criterion("masked_lm_lottery", dataclass=MaskedLmConfig)
class MaskedLmLottery(LogsMetrics, MaskedLmLoss):
    """Loss of masked tokens; see ``LogsMetrics``."""


class _PredictionsMeter(meters.MetersDict._DerivedMeter):
    """Predictions of a validation, from which fairseq derives each metric."""

    def __init__(self) -> None:
        self._batches: list[Predictions] = []
        self._scores: dict[str, float] = {}

    def update(self, batches: Sequence[Predictions]) -> None:
        self._batches += batches
        self._scores = {}

    def score(self, metric: str) -> float:
        if not self._scores:
            scores = join(self._batches).scores()
            self._scores = {name: score or 0.0 for name, score in scores.items()}
        return self._scores[metric]


#: key of the predictions in the log; fairseq hides keys that start with ``_``
_PREDICTIONS = "_predictions"


def _log_predictions(batches: Sequence[Predictions]) -> None:
    """Log predictions and their scores in the aggregators of this validation.

    fairseq stores aggregators with a name in checkpoints and can load meters of its own classes
    only, so these are left out.
    """
    named = [id(aggregator) for aggregator in metrics._aggregators.values()]
    for aggregator in metrics.get_active_aggregators():
        if id(aggregator) in named:
            continue
        if _PREDICTIONS not in aggregator:
            aggregator.add_meter(_PREDICTIONS, _PredictionsMeter(), 20)
            for metric in batches[0].metrics:
                if metric != "accuracy":  # fairseq logs it
                    meter = meters.MetersDict._DerivedMeter(partial(_read_score, metric=metric))
                    aggregator.add_meter(metric, meter, 20)
        aggregator[_PREDICTIONS].update(batches)


def _read_score(aggregator: Any, metric: str) -> float:
    score: float = aggregator[_PREDICTIONS].score(metric)
    return score


@register_criterion("sentence_prediction_lottery", dataclass=SentencePredictionConfig)
class SentencePredictionLottery(LogsMetrics, SentencePredictionCriterion):
    """Loss of sentence classification and regression; see ``LogsMetrics``.

    A validation also logs the scores of ``Predictions`` over all its examples, so each of them can
    select the best checkpoint. An undefined correlation counts as 0. fairseq 0.12.2 logs only the
    accuracy.
    """

    def __init__(self, cfg: SentencePredictionConfig, task: Any) -> None:
        super().__init__(cfg, task)
        with one_sentence():
            require("scipy", "sklearn")

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """Return fairseq's loss; in a validation, also log the predictions."""
        if model.training:
            return super().forward(model, sample, reduce)
        with captured_output(model) as outputs:
            loss, size, logged = super().forward(model, sample, reduce)
        positive = positive_class(class_names(self.task), self.task.cfg.num_classes)
        predictions = predict(outputs[-1], sample, self.regression_target, positive)
        return loss, size, {**logged, "predictions": predictions}

    @staticmethod
    def reduce_metrics(logging_outputs: Sequence[dict[str, Any]]) -> None:
        """Aggregate the logged values of all processes."""
        batches = [log["predictions"] for log in logging_outputs if "predictions" in log]
        if batches:
            _log_predictions(batches)
        SentencePredictionCriterion.reduce_metrics(logging_outputs)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return False: predictions of several processes are joined, not summed."""
        return False
