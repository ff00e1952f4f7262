"""fairseq's tasks with tickets; a task needs two classes, its flags and the task itself."""

from dataclasses import dataclass
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask
from fairseq.tasks.translation_multi_simple_epoch import TranslationMultiSimpleEpochTask

from fairseq_lottery.compat import unshared_buffer
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.inference.flag_config import with_flags
from fairseq_lottery.inference.lottery_config import LotteryConfig
from fairseq_lottery.inference.scores.labels import (
    class_names,
    refuse_more_classes,
    refuse_unlabelled,
)
from fairseq_lottery.training.multilingual_task import MultilingualTask
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

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """Set up the task; refuse labels that do not match the number of classes."""
        with one_sentence():
            refuse_unlabelled(cfg.data, cfg.num_classes, cfg.regression_target)
        task = super().setup_task(cfg, **kwargs)
        with one_sentence():
            refuse_more_classes(class_names(task), cfg.num_classes, cfg.data)
        return task

    def build_head(self, model: Any) -> None:
        """Build the classification head anew."""
        name = self.cfg.classification_head_name
        del model.classification_heads[name]
        model.register_classification_head(name, num_classes=self.cfg.num_classes)


@with_flags(TranslationFromPretrainedBARTTask)
class TranslationFromPretrainedBARTLotteryConfig(LotteryConfig, TranslationConfig):
    """Flags of fine-tuning a model like mBART, and of the lottery."""


@register_task(
    "translation_from_pretrained_bart_lottery",
    dataclass=TranslationFromPretrainedBARTLotteryConfig,
)
class TranslationFromPretrainedBARTLotteryTask(LotteryTask, TranslationFromPretrainedBARTTask):
    """Fine-tuning of a model like mBART under a mask."""

    cfg: TranslationFromPretrainedBARTLotteryConfig

    def __init__(self, cfg: Any, *dictionaries: Any) -> None:
        self.args = cfg  # fairseq's task reads this attribute and does not set it
        super().__init__(cfg, *dictionaries)

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """Set up the task; refuse to guess the languages of the pre-training."""
        with one_sentence():
            if not cfg.langs:
                raise LotteryError(
                    f"--task {cfg._name} requires --langs with the languages of the pre-training"
                )
        return super().setup_task(cfg, **kwargs)


@with_flags(TranslationMultiSimpleEpochTask)
class TranslationMultiSimpleEpochLotteryConfig(LotteryConfig):
    """Flags of multilingual translation and of the lottery."""


@register_task(
    "translation_multi_simple_epoch_lottery", dataclass=TranslationMultiSimpleEpochLotteryConfig
)
class TranslationMultiSimpleEpochLotteryTask(LotteryTask, MultilingualTask):  # type: ignore[misc]
    """Multilingual translation under a mask."""

    cfg: TranslationMultiSimpleEpochLotteryConfig
