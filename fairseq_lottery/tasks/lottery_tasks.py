"""fairseq's tasks with tickets; a task needs two classes, its flags and the task itself."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from fairseq_lottery.compat import unshared_buffer
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

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the batches of fairseq's task, so that equal commands mask the same tokens."""
        if not kwargs.get("num_workers"):
            kwargs["data_buffer_size"] = unshared_buffer(kwargs.get("data_buffer_size", 0))
        return super().get_batch_iterator(dataset, *args, **kwargs)


@dataclass
class SentencePredictionLotteryConfig(LotteryConfig, SentencePredictionConfig):
    """Flags of sentence classification and regression, and of the lottery."""


@register_task("sentence_prediction_lottery", dataclass=SentencePredictionLotteryConfig)
class SentencePredictionLotteryTask(LotteryTask, SentencePredictionTask):
    """Sentence classification and regression under a mask; the mask never prunes the head."""

    cfg: SentencePredictionLotteryConfig

    def build_head(self, model: Any) -> None:
        """Build the classification head anew."""
        name = self.cfg.classification_head_name
        del model.classification_heads[name]
        model.register_classification_head(name, num_classes=self.cfg.num_classes)
