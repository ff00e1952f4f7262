"""``LotteryTask``: the mixin that gives any of fairseq's tasks tickets and pruning."""

from __future__ import annotations

import inspect
import logging
from typing import Any, Optional

import torch

from fairseq_lottery.adapters import TaskAdapter, adapter_of
from fairseq_lottery.compat import whole_config
from fairseq_lottery.errors import one_sentence
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import Dictionaries
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.inference.sentence_lengths import has_learned_positions, refuse_too_long
from fairseq_lottery.sparse import sparsify
from fairseq_lottery.training.lottery_run import LotteryRun
from fairseq_lottery.training.processes.stop_signals import stop_on_signals
from fairseq_lottery.training.start.flag_checks import refuse_setup

logger = logging.getLogger(__name__)


class LotteryTask:
    """Mixin before a class of fairseq's tasks whose configuration has ``LotteryConfig``.

    It only forwards fairseq's events to a ``LotteryRun``, which exists while training: a
    model that is built from a checkpoint opens no ticket and enforces nothing.
    """

    run: Optional[LotteryRun] = None
    is_building = False
    has_learned_positions = False

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """As the task's; refuses at once what would hide the weights."""
        with one_sentence():
            refuse_setup(cfg)
        return super().setup_task(cfg, **kwargs)  # type: ignore[misc]

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """As the task's; for a training, also what it starts from.

        For a checkpoint that heads and units were cut out of, without these.
        """
        self.is_building = True
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        self.is_building = False
        self.has_learned_positions = has_learned_positions(model)
        if from_checkpoint and has_cut(cfg):
            with one_sentence():
                components().cut_model(model, cfg)
        if not from_checkpoint:
            with one_sentence():
                symbols = dictionaries_of(self, self.adapter)
                self.run = LotteryRun(self.cfg, cfg, model, self.adapter, symbols)  # type: ignore[attr-defined]
        return model

    @property
    def adapter(self) -> TaskAdapter:
        """What differs between this task and others of fairseq's."""
        return adapter_of(self.cfg._name)  # type: ignore[attr-defined]

    def build_generator(self, models: Any, args: Any, *given: Any, **kwargs: Any) -> Any:
        """As the task's; with ``--sparse-decode`` the models decode with sparse matrices."""
        # --eval-bleu asks for a generator before there are weights
        if self.cfg.sparse_decode and not self.is_building:  # type: ignore[attr-defined]
            with one_sentence():
                for model in models:
                    logger.info("%s", sparsify(model, rows=getattr(args, "beam", 1)))
        return super().build_generator(models, args, *given, **kwargs)  # type: ignore[misc]

    @property
    def uses_ema(self) -> bool:
        """Whether the trainer hands in its EMA, which must be pruned with the model."""
        return self.run is not None and self.run.pruning is not None and self.run.ema_exists

    def train_step(  # noqa: D102 - fairseq's own event
        self,
        sample: dict[str, Any],
        model: torch.nn.Module,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        ema_model: Optional[torch.nn.Module] = None,
    ) -> Any:
        if self.run is not None:
            with one_sentence():
                self.run.before_update(optimizer, update_num, ema_model)
        return super().train_step(  # type: ignore[misc]
            sample, model, criterion, optimizer, update_num, ignore_grad
        )

    def optimizer_step(self, optimizer: Any, model: torch.nn.Module, update_num: int) -> None:
        """Take the task's step, then the pruning step and the snapshot that are due."""
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if self.run is not None:
            with one_sentence():
                self.run.after_update(update_num + 1)

    def valid_step(  # noqa: D102 - fairseq's own event
        self, sample: dict[str, Any], model: torch.nn.Module, criterion: Any, ema_model: Any = None
    ) -> Any:
        return super().valid_step(sample, model, criterion)  # type: ignore[misc]

    def post_validate(self, model: torch.nn.Module, stats: dict[str, Any], agg: Any) -> None:
        """Keep under-pruned models out of the choice of the best checkpoint."""
        if self.run is not None:
            with one_sentence():
                self.run.hide_while_growing(stats)

    def state_dict(self) -> dict[str, Any]:
        """As the task's, with ``lottery``: the mask and where it came from."""
        state = dict(super().state_dict())  # type: ignore[misc]
        if self.run is not None:
            with one_sentence():
                state["lottery"] = self.run.state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the task's; in generation the zeros are in the weights, so no mask is needed."""
        rest = {key: value for key, value in state_dict.items() if key != "lottery"}
        super().load_state_dict(rest)  # type: ignore[misc]

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the task's, except that a validation or test set loses no sentence.

        fairseq main and fairseq-fixed drop the last sentences of a set whose size is no
        multiple of ``--required-batch-size-multiple`` (8 by default).

        And a training set is cut into the same batches in the same order whenever the training
        was resumed: fairseq main and fairseq-fixed cut it as the epoch says in which the process
        started, and ``--update-ordered-indices-seed`` makes their order depend on it as well.
        """
        bound = inspect.signature(super().get_batch_iterator).bind(  # type: ignore[misc]
            dataset, *args, **kwargs
        )
        given = bound.arguments
        if not self._is_training_set(dataset):
            multiple = given.get("required_batch_size_multiple", 1)
            lost = len(dataset) % multiple
            if lost:
                logger.info(
                    f"batches of multiples of {multiple} would drop up to {lost} of {len(dataset)}"
                    " sentences; --required-batch-size-multiple 1 is used instead"
                )
            given["required_batch_size_multiple"] = 1
            shards = given.get("num_shards", 1)
            if shards > 1 and self.run is None:
                logger.warning(
                    f"this process takes one share in {shards} of the {len(dataset)} sentences;"
                    " score all shares together, for a share's BLEU is not the test set's"
                )
            return super().get_batch_iterator(*bound.args, **bound.kwargs)  # type: ignore[misc]
        anew = given.get("disable_iterator_cache") or given.get("update_epoch_batch_itr")
        # all epochs of a process share their batches, and only their order changes
        if not anew and self.can_reuse_epoch_itr(dataset):  # type: ignore[attr-defined]
            # the trainer's seed is then the run's plus the epoch
            if self._dataset_settings.get("update_ordered_indices_seed"):
                given["seed"] = given.get("seed", 1) - given.get("epoch", 1) + 1
            given["epoch"] = 1  # the epoch to go on with comes from the checkpoint, afterwards
        if self.run is not None and not self.run.is_finished:
            stop_on_signals()
        return super().get_batch_iterator(*bound.args, **bound.kwargs)  # type: ignore[misc]

    def filter_indices_by_size(
        self,
        indices: Any,
        dataset: Any,
        max_positions: Any = None,
        ignore_invalid_inputs: bool = False,
    ) -> Any:
        """As the task's, except that translation refuses a sentence that is too long.

        ``--skip-invalid-size-inputs-valid-test`` drops it: fairseq logs that in the validation of
        a training, where it changes no translation.
        """
        if self.run is None and self.adapter.translates:
            too_long = dataset.filter_indices_by_size(indices, max_positions)[1]
            with one_sentence():
                refuse_too_long(dataset, too_long, max_positions, self.has_learned_positions)
        return super().filter_indices_by_size(  # type: ignore[misc]
            indices, dataset, max_positions, ignore_invalid_inputs
        )

    @property
    def _dataset_settings(self) -> Any:
        return whole_config(self.cfg).dataset  # type: ignore[attr-defined]

    def _is_training_set(self, dataset: Any) -> bool:
        if self.run is None:
            return False
        subset = self._dataset_settings.train_subset
        return dataset is self.datasets.get(subset)  # type: ignore[attr-defined]


def dictionaries_of(task: Any, adapter: TaskAdapter) -> Dictionaries:
    """Return the symbols of a task's dictionaries, without fairseq's special ones."""
    found = {name: getattr(task, one.attributes[0]) for name, one in adapter.vocabularies.items()}
    return Dictionaries({name: tuple(one.symbols[one.nspecial :]) for name, one in found.items()})
