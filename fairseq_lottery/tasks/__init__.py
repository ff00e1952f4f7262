"""Tasks with tickets, pruning during training and snapshots.

``LotteryTask`` is a mixin for fairseq's tasks; importing this package registers the tasks.
"""

from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.inference.model_builder import initial_weights
from fairseq_lottery.tasks.lottery_tasks import (
    MaskedLMLotteryTask,
    SentencePredictionLotteryTask,
    TranslationLotteryTask,
)
from fairseq_lottery.training.task_mixin import LotteryTask

__all__ = [
    "LotteryConfig",
    "LotteryTask",
    "MaskedLMLotteryTask",
    "SentencePredictionLotteryTask",
    "TranslationLotteryTask",
    "initial_weights",
]
