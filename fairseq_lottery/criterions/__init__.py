"""fairseq's losses with our figures logged, and one of them under gates that learn."""

from fairseq_lottery.criterions.gated import LabelSmoothedCrossEntropyGates
from fairseq_lottery.criterions.label_smoothed import LabelSmoothedCrossEntropyLottery
from fairseq_lottery.criterions.masked_lm import MaskedLmLottery

__all__ = [
    "LabelSmoothedCrossEntropyGates",
    "LabelSmoothedCrossEntropyLottery",
    "MaskedLmLottery",
]
