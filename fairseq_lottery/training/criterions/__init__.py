"""fairseq's losses with our figures logged."""

from fairseq_lottery.training.criterions.label_smoothed import LabelSmoothedCrossEntropyLottery
from fairseq_lottery.training.criterions.masked_lm import MaskedLmLottery

__all__ = ["LabelSmoothedCrossEntropyLottery", "MaskedLmLottery"]
