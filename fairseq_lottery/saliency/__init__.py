"""Scores of a model before its training, from sums over batches or from the flow through it.

They work on any ``nn.Module``, with torch and without fairseq.
"""

from fairseq_lottery.saliency.rounds import SALIENCIES, Saliency, Select
from fairseq_lottery.saliency.untrained_model import UntrainedModel, find_mask, sum_statistic

__all__ = ["SALIENCIES", "Saliency", "Select", "UntrainedModel", "find_mask", "sum_statistic"]
