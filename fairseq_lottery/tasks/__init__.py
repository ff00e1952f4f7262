"""The tasks that the plugin registers: tickets, pruning during training and snapshots in fairseq.

``LotteryTask`` is a mixin over fairseq's tasks; importing this room registers the tasks.
"""

from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.inference.model_builder import initial_weights
from fairseq_lottery.tasks.lottery_tasks import MaskedLMLotteryTask, TranslationLotteryTask
from fairseq_lottery.training.task_mixin import LotteryTask

__all__ = [
    "LotteryConfig",
    "LotteryTask",
    "MaskedLMLotteryTask",
    "TranslationLotteryTask",
    "initial_weights",
]
