"""fairseq's label-smoothed cross-entropy that also logs sparsity and what training does."""

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from fairseq_lottery.training.criterions.logged_metrics import LogsFigures


@register_criterion(
    "label_smoothed_cross_entropy_lottery", dataclass=LabelSmoothedCrossEntropyCriterionConfig
)
class LabelSmoothedCrossEntropyLottery(LogsFigures, LabelSmoothedCrossEntropyCriterion):
    """The loss of translation; see ``LogsFigures``."""
