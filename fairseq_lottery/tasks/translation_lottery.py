"""fairseq's translation task with tickets. Another task follows in the same two lines."""

from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.training.task_mixin import LotteryTask


@dataclass
class TranslationLotteryConfig(LotteryConfig, TranslationConfig):
    """The flags of translation and of the lottery."""


@register_task("translation_lottery", dataclass=TranslationLotteryConfig)
class TranslationLotteryTask(LotteryTask, TranslationTask):
    """Translation under a mask: ``--ticket``, ``--mask-from``, ``--prune-to``."""

    cfg: TranslationLotteryConfig
