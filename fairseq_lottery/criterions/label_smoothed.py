"""fairseq's label-smoothed cross-entropy that also logs sparsity and what training does."""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics


@register_criterion(
    "label_smoothed_cross_entropy_lottery", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class LabelSmoothedCrossEntropyLottery(LabelSmoothedCrossEntropyCriterion):
    """The same loss to the last bit; logs the figures of ``LotteryRun.figures``.

    They are of the weights that a forward pass saw: the last one of each ``--log-interval``,
    or the validation's.
    """

    def __init__(
        self,
        task: Any,
        sentence_avg: bool,
        label_smoothing: float,
        ignore_prefix_size: int = 0,
        report_accuracy: bool = False,
    ) -> None:
        # fairseq builds a criterion from the names of these arguments
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self._task = task

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
        """As fairseq's."""
        run = getattr(self._task, "run", None)
        if run is not None:
            for name, value in run.figures_to_log(model.training).items():
                metrics.log_scalar(name, value, weight=0, priority=1000, round=4)
        return super().forward(model, sample, reduce)
