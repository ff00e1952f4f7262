"""``MultilingualTask``: parts of ``translation_multi_simple_epoch`` that a lottery task needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Optional

from fairseq.tasks.translation_multi_simple_epoch import TranslationMultiSimpleEpochTask
from fairseq.utils import split_paths

from fairseq_lottery.compat import use_modules, whole_config
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.inference.flag_config import arguments_of
from fairseq_lottery.masks import PairMasks
from fairseq_lottery.training.pair_batches import divide_by_pairs, pair_of, step_by_pairs
from fairseq_lottery.training.pair_weights import PairWeights


class MultilingualTask(TranslationMultiSimpleEpochTask):
    """fairseq's task with a configuration, with masks of pairs, and independent of restarts.

    fairseq samples sentences by epoch. With ``--virtual-epoch-size`` an epoch continues a pass over
    the data that began in an earlier epoch, and with several data folders the sampling ratios
    depend on the folders that were loaded before. So a restarted training goes through the earlier
    epochs, without reading their sentences.

    Under masks of pairs each part of a batch with the sentences of one pair is computed under the
    mask of the pair. The gradients of the parts are added up.
    """

    cfg: Any
    #: the training, and masks of pairs in a checkpoint that is not trained, as in ``LotteryTask``
    run: Any = None
    pair_masks: Any = None
    #: a validated model, and its weights under the masks
    _validated: Any = None

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
        if self.training and self._has_pair_masks:
            dataset = divide_by_pairs(self.datasets[split], self.lang_pairs)
            if self.run is not None:
                advice = "give a file of fairseq-lottery pair-masks with all pairs of the training"
                with one_sentence():
                    self.run.pair_weights.masks.refuse_unknown(map(pair_of, dataset.keys), advice)
            self.datasets[split] = dataset

    def train_step(  # noqa: D102 - fairseq's own event
        self, sample: Mapping[str, Any], model: Any, criterion: Any, *args: Any, **kwargs: Any
    ) -> Any:
        step = super().train_step
        weights = self._weights_of_pairs(model)
        if weights is None:
            return step(sample, model, criterion, *args, **kwargs)
        _refuse_averages(criterion)
        self.run.metrics_to_log(training=True)  # of all weights, before some are hidden
        return step_by_pairs(
            sample, weights, lambda batch: step(batch, model, criterion, *args, **kwargs)
        )

    def valid_step(self, sample: Mapping[str, Any], model: Any, criterion: Any) -> Any:
        """Validate each pair under its mask."""
        step = partial(super().valid_step, model=model, criterion=criterion)
        weights = self._weights_of_pairs(model)
        if weights is None:
            return step(sample)
        _refuse_averages(criterion)
        if self.run is not None:
            self.run.metrics_to_log(training=False)
        is_divided = "net_input" not in sample
        return step_by_pairs(
            sample if is_divided else {f"main:{self.lang_pairs[0]}": sample}, weights, step
        )

    @property
    def _has_pair_masks(self) -> bool:
        if self.run is not None:
            return self.run.pair_weights is not None
        return self.pair_masks is not None

    def _weights_of_pairs(self, model: Any) -> Optional[PairWeights]:
        """Return the model under the masks of its pairs; None for a model without such masks."""
        if self.run is not None or self.pair_masks is None:
            return self.run.pair_weights if self.run is not None else None
        if self._validated is None or self._validated[0] is not model:
            use_modules(model)
            with one_sentence():
                rule = self.cfg.pair_mask or ""
                masks = {pair: model.pair_masks.find(pair, rule) for pair in self.lang_pairs}
                self._validated = model, PairWeights(model, PairMasks(masks))
        return self._validated[1]


def _refuse_averages(criterion: Any) -> None:
    """Refuse a criterion whose results for the parts of a batch cannot be added up."""
    with one_sentence():
        if not criterion.logging_outputs_can_be_summed():
            raise LotteryError(
                f"{type(criterion).__name__} logs values that cannot be added up over pairs of"
                " languages; use another --criterion with masks of pairs"
            )
