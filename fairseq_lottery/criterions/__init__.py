"""``--criterion label_smoothed_cross_entropy_lottery``: fairseq's loss, our figures logged."""

from fairseq_lottery.criterions.label_smoothed import LabelSmoothedCrossEntropyLottery

__all__ = ["LabelSmoothedCrossEntropyLottery"]
