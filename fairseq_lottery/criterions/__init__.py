"""fairseq's loss with our figures logged, and the same under gates that learn."""

from fairseq_lottery.criterions.gated import LabelSmoothedCrossEntropyGates
from fairseq_lottery.criterions.label_smoothed import LabelSmoothedCrossEntropyLottery

__all__ = ["LabelSmoothedCrossEntropyGates", "LabelSmoothedCrossEntropyLottery"]
