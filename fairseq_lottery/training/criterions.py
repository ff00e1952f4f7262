"""fairseq's losses that also log sparsity and what training does to the survivors."""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from fairseq.logging import metrics


class LogsFigures:
    """Mixin before a criterion of fairseq's: the same loss to the last bit, and more in the log.

    The figures are those of ``LotteryRun.figures_to_log``, of the weights that a forward pass saw:
    the last one of each ``--log-interval``, or the validation's.
    """

    task: Any

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """As fairseq's."""
        run = getattr(self.task, "run", None)
        if run is not None:
            for name, value in run.figures_to_log(model.training).items():
                metrics.log_scalar(name, value, weight=0, priority=1000, round=4)
        return super().forward(model, sample, reduce)  # type: ignore[misc]


@register_criterion(
    "label_smoothed_cross_entropy_lottery", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class LabelSmoothedCrossEntropyLottery(LogsFigures, LabelSmoothedCrossEntropyCriterion):
    """The loss of translation; see ``LogsFigures``."""


@register_criterion("masked_lm_lottery", dataclass=MaskedLmConfig)
class MaskedLmLottery(LogsFigures, MaskedLmLoss):
    """The loss of masked tokens; see ``LogsFigures``."""
