"""``--task translation_lottery``: tickets, pruning during training and snapshots in fairseq.

``LotteryTask`` is a mixin over fairseq's tasks; importing this room registers the task.
"""

from fairseq_lottery.tasks.config import LotteryConfig
from fairseq_lottery.tasks.initialise import initial_weights
from fairseq_lottery.tasks.lottery import LotteryTask
from fairseq_lottery.tasks.translation_lottery import TranslationLotteryTask

__all__ = ["LotteryConfig", "LotteryTask", "TranslationLotteryTask", "initial_weights"]
