"""fairseq's tasks with tickets; a task needs two classes, its flags and the task itself."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lottery.compat import numpy_has_compat, unshared_buffer
from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.training.task_mixin import LotteryTask


@dataclass
class TranslationLotteryConfig(LotteryConfig, TranslationConfig):
    """Flags of translation and of the lottery."""


@register_task("translation_lottery", dataclass=TranslationLotteryConfig)
class TranslationLotteryTask(LotteryTask, TranslationTask):
    """Translation under a mask: ``--ticket``, ``--mask-from``, ``--prune-to``."""

    cfg: TranslationLotteryConfig


@dataclass
class MaskedLMLotteryConfig(LotteryConfig, MaskedLMConfig):
    """Flags of masked language models and of the lottery."""


@register_task("masked_lm_lottery", dataclass=MaskedLMLotteryConfig)
class MaskedLMLotteryTask(LotteryTask, MaskedLMTask):
    """Masked language models under a mask: ``--ticket``, ``--mask-from``, ``--prune-to``."""

    cfg: MaskedLMLotteryConfig

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> None:
        """Load a data set as fairseq's task does, also under numpy 2."""
        with numpy_has_compat():
            super().load_dataset(split, *args, **kwargs)

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of fairseq's task, so that equal commands mask the same tokens."""
        if not kwargs.get("num_workers"):
            kwargs["data_buffer_size"] = unshared_buffer(kwargs.get("data_buffer_size", 0))
        return super().get_batch_iterator(dataset, *args, **kwargs)
