"""``MultilingualTask``: parts of ``translation_multi_simple_epoch`` that a lottery task needs."""

from __future__ import annotations

from typing import Any

from fairseq.tasks.translation_multi_simple_epoch import TranslationMultiSimpleEpochTask
from fairseq.utils import split_paths

from fairseq_lottery.compat import whole_config
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.inference.flag_config import arguments_of


class MultilingualTask(TranslationMultiSimpleEpochTask):
    """fairseq's task with a configuration, and with batches that do not depend on restarts.

    fairseq samples sentences by epoch. With ``--virtual-epoch-size`` an epoch continues a pass over
    the data that began in an earlier epoch, and with several data folders the sampling ratios
    depend on the folders that were loaded before. So a restarted training goes through the earlier
    epochs, without reading their sentences.
    """

    cfg: Any

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """Set up fairseq's task, which reads the flags of its parser and three values beside."""
        whole = whole_config(cfg)
        dataset = whole.get("dataset") or {}
        common = {
            "seed": (whole.get("common") or {}).get("seed", 1),
            "train_subset": dataset.get("train_subset", "train"),
            "dataset_impl": dataset.get("dataset_impl"),
        }
        with one_sentence():
            arguments = arguments_of(cfg, TranslationMultiSimpleEpochTask, common)
            try:
                task = super().setup_task(arguments, **kwargs)
            except (ValueError, AssertionError, OSError) as error:
                raise LotteryError(f"the task cannot be set up: {error}") from error
        task.cfg = cfg
        return task

    def can_reuse_epoch_itr(self, dataset: Any) -> bool:
        """Return whether all epochs have the same batches, in another order."""
        if self.args.sampling_method == "RoundRobin":
            return True  # the task itself keeps the batches of the first epoch
        return bool(super().can_reuse_epoch_itr(dataset))

    def load_dataset(self, split: str, epoch: int = 1, *args: Any, **kwargs: Any) -> None:
        """Load a data set; if a training starts in a later epoch, go through the earlier ones."""
        shards, is_virtual = len(split_paths(self.args.data)), bool(self.args.virtual_epoch_size)
        is_first = self.training and split == self.args.train_subset and split not in self.datasets
        # without virtual epochs an epoch depends on earlier ones only by the sizes of their folders
        last = epoch - 1 if is_virtual else min(epoch - 1, shards if shards > 1 else 0)
        for past in range(1, last + 1 if is_first else 1):
            if past == 1 or self.has_sharded_data(split):
                super().load_dataset(split, past, *args, **kwargs)
            self.datasets[split].set_epoch(past)
        if not (is_first and last and is_virtual and shards == 1):
            super().load_dataset(split, epoch, *args, **kwargs)
