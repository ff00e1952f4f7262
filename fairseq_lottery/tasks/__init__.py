"""The tasks that the plugin registers: tickets, pruning during training and snapshots in fairseq.

``LotteryTask`` is a mixin over fairseq's tasks; importing this room registers the tasks.
"""

from fairseq_lottery.tasks.config import LotteryConfig
from fairseq_lottery.tasks.initialise import initial_weights
from fairseq_lottery.tasks.lottery import LotteryTask
from fairseq_lottery.tasks.masked_lm_lottery import MaskedLMLotteryTask
from fairseq_lottery.tasks.translation_lottery import TranslationLotteryTask

__all__ = [
    "LotteryConfig",
    "LotteryTask",
    "MaskedLMLotteryTask",
    "TranslationLotteryTask",
    "initial_weights",
]
