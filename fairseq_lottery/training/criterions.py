"""fairseq's losses, extended to log metrics of the mask and the survivors."""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.logging import metrics


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
