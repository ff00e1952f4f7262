"""``LotteryTask``: mixin that adds tickets and pruning to a fairseq task."""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import Any, Optional

import torch
from fairseq.tasks import FairseqTask

from fairseq_lottery.adapters import TaskAdapter, adapter_of
from fairseq_lottery.compat import gather_lists_on_cpu, numpy_has_compat, whole_config
from fairseq_lottery.decoding import accelerate
from fairseq_lottery.errors import LotteryError, one_sentence
from fairseq_lottery.extensions import components
from fairseq_lottery.formats import Dictionaries, container
from fairseq_lottery.formats.checkpoints.cut_model import has_cut
from fairseq_lottery.inference.scores.labels import class_names
from fairseq_lottery.inference.sentence_lengths import has_learned_positions, refuse_too_long
from fairseq_lottery.masks import PairMasks
from fairseq_lottery.masks.streams import order_seed, torch_seed
from fairseq_lottery.training.lottery_run import LotteryRun
from fairseq_lottery.training.pair_weights import keep_translated_pair, masks_of_loaded
from fairseq_lottery.training.processes.ranks import is_distributed, require_same
from fairseq_lottery.training.processes.stop_signals import stop_on_signals
from fairseq_lottery.training.start.flag_checks import refuse_setup
from fairseq_lottery.training.start.training_examples import training_examples

logger = logging.getLogger(__name__)


class LotteryTask:
    """Mixin for a fairseq task whose configuration extends ``LotteryConfig``.

    It forwards fairseq's events to a ``LotteryRun``, which exists only in a training: a model that
    is built from a checkpoint loads no ticket and enforces no mask.
    """

    run: Optional[LotteryRun] = None
    is_building = False
    has_learned_positions = False
    #: masks of pairs of languages in the checkpoint whose model is built next
    pair_masks: Optional[PairMasks] = None

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add the flags of the configuration, also if fairseq's task has flags without one."""
        FairseqTask.add_args.__func__(cls, parser)

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """Set up the task; refuse configurations in which masks cannot be enforced."""
        with one_sentence():
            refuse_setup(cfg)
        return super().setup_task(cfg, **kwargs)  # type: ignore[misc]

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> torch.nn.Module:
        """Build the model; in a training, also start the run.

        Build the model of a slim checkpoint without the heads and units that were cut out.
        """
        if is_distributed():
            gather_lists_on_cpu(whole_config(self.cfg).common.all_gather_list_size)  # type: ignore[attr-defined]
        self.is_building = True
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        self.is_building = False
        self.has_learned_positions = has_learned_positions(model)
        if from_checkpoint and has_cut(cfg):
            with one_sentence():
                components().cut_model(model, cfg)
        if from_checkpoint and self.pair_masks is not None:
            model.pair_masks = self.pair_masks
        if not from_checkpoint:
            with one_sentence():
                self._initialise_head(model)
                symbols = dictionaries_of(self, self.adapter)
                task_cfg, classes = self.cfg, class_names(self)  # type: ignore[attr-defined]
                self.run = LotteryRun(task_cfg, cfg, model, self.adapter, symbols, classes)
        return model

    def build_head(self, model: torch.nn.Module) -> None:
        """Build the head of ``model`` anew; each task whose adapter has a head defines this."""
        raise LotteryError(
            f"task {self.adapter.name} has the head {self.adapter.head}, but no method build_head;"
            " define one in its class"
        )

    def _initialise_head(self, model: torch.nn.Module) -> None:
        """Initialise the head of ``model`` from the stream of ``--head-seed``.

        torch's global generator is preserved, so the training continues as without a head.

        Raises:
            LotteryError: ``--head-seed`` is given but the model has no head, or the heads of the
                processes differ.
        """
        seed: Optional[int] = self.cfg.head_seed  # type: ignore[attr-defined]
        if not any(map(self.adapter.is_head, dict(model.named_parameters()))):
            if seed is not None:
                raise LotteryError(
                    f"--head-seed {seed} initialises the head of a task, but {self.adapter.name}"
                    " has none; omit it"
                )
            return
        if seed is None:
            seed = int(whole_config(self.cfg).common.seed)  # type: ignore[attr-defined]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(f"head|{seed}"))
            self.build_head(model)
        parameters = dict(model.named_parameters())
        head = {n: p.detach() for n, p in parameters.items() if self.adapter.is_head(n)}
        require_same(container.digest(head, {}), "head")

    @property
    def adapter(self) -> TaskAdapter:
        """Adapter of the task."""
        return adapter_of(self.cfg._name)  # type: ignore[attr-defined]

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> Any:
        """Load a data set as fairseq's task does, also under numpy 2."""
        with numpy_has_compat():
            return super().load_dataset(split, *args, **kwargs)  # type: ignore[misc]

    def build_generator(self, models: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        """Build the task's generator, which is faster with ``--sparse-decode``."""
        # --eval-bleu builds a generator before the weights are loaded
        if not self.is_building:
            with one_sentence():
                keep_translated_pair(models, self.cfg)  # type: ignore[attr-defined]
        generator = super().build_generator(models, args, *rest, **kwargs)  # type: ignore[misc]
        if self.cfg.sparse_decode and not self.is_building:  # type: ignore[attr-defined]
            with one_sentence():
                accelerate(generator, models)
        return generator

    @property
    def uses_ema(self) -> bool:
        """Whether the trainer passes its EMA, which must be pruned with the model."""
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
                examples = partial(training_examples, self, criterion)
                self.run.before_update(optimizer, update_num, ema_model, examples)
        loss, size, logging_output = super().train_step(  # type: ignore[misc]
            sample, model, criterion, optimizer, update_num, ignore_grad
        )
        if self.run is not None:
            counted = None if ignore_grad else sample  # a batch without gradients is a dummy
            logging_output = {**logging_output, **self.run.logged_flops(counted)}
        return loss, size, logging_output

    def reduce_metrics(self, logging_outputs: Any, criterion: Any) -> None:
        """Count the operations of a training; otherwise aggregate as the task does."""
        if self.run is not None:
            logging_outputs = self.run.flops.add(logging_outputs)
        super().reduce_metrics(logging_outputs, criterion)  # type: ignore[misc]

    def optimizer_step(self, optimizer: Any, model: torch.nn.Module, update_num: int) -> None:
        """Take the task's step, then a pruning step and a snapshot if they are due."""
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if self.run is not None:
            with one_sentence():
                self.run.after_update(update_num + 1)

    def valid_step(  # noqa: D102 - fairseq's own event
        self, sample: dict[str, Any], model: torch.nn.Module, criterion: Any, ema_model: Any = None
    ) -> Any:
        return super().valid_step(sample, model, criterion)  # type: ignore[misc]

    def post_validate(self, model: torch.nn.Module, stats: dict[str, Any], agg: Any) -> None:
        """Exclude under-pruned models from the selection of the best checkpoint."""
        if self.run is not None:
            with one_sentence():
                self.run.hide_under_pruned(stats)

    def state_dict(self) -> dict[str, Any]:
        """Return the task's state with ``lottery``: the mask and its provenance."""
        state = dict(super().state_dict())  # type: ignore[misc]
        if self.run is not None:
            with one_sentence():
                state["lottery"] = self.run.state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the task's state without ``lottery``: pruned weights are already zero."""
        with one_sentence():
            self.pair_masks = masks_of_loaded(state_dict, self.adapter)
        rest = {key: value for key, value in state_dict.items() if key != "lottery"}
        super().load_state_dict(rest)  # type: ignore[misc]

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the task's batches, without losing sentences of a validation or test set.

        fairseq main and fairseq-fixed drop the last sentences of a set whose size is not a
        multiple of ``--required-batch-size-multiple`` (8 by default).

        A training set gives the same batches in the same order wherever the training was resumed.
        In fairseq main and fairseq-fixed the batches depend on the epoch in which the process
        started, and with ``--update-ordered-indices-seed`` their order does, too. A seed drawn for
        ``--data-seed`` replaces the run's seed.
        """
        bound = inspect.signature(super().get_batch_iterator).bind(  # type: ignore[misc]
            dataset, *args, **kwargs
        )
        options = bound.arguments
        if not self._is_training_set(dataset):
            multiple = options.get("required_batch_size_multiple", 1)
            lost = len(dataset) % multiple
            if lost:
                logger.info(
                    f"batches of multiples of {multiple} would drop up to {lost} of {len(dataset)}"
                    " sentences; --required-batch-size-multiple 1 is used instead"
                )
            options["required_batch_size_multiple"] = 1
            shards = options.get("num_shards", 1)
            if shards > 1 and self.run is None:
                logger.warning(
                    f"this process translates one of {shards} shards of the {len(dataset)}"
                    " sentences; score all shards together, as BLEU is not an average over shards"
                )
            return super().get_batch_iterator(*bound.args, **bound.kwargs)  # type: ignore[misc]
        options["seed"] = options.get("seed", 1) + self._seed_difference
        is_rebuilt = options.get("disable_iterator_cache") or options.get("update_epoch_batch_itr")
        # epochs of a process share their batches; only the order changes
        if not is_rebuilt and self.can_reuse_epoch_itr(dataset):  # type: ignore[attr-defined]
            # the trainer's seed is then the run's plus the epoch
            if self._dataset_settings.get("update_ordered_indices_seed"):
                options["seed"] = options.get("seed", 1) - options.get("epoch", 1) + 1
            options["epoch"] = 1  # the checkpoint sets the epoch afterwards
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
        """Filter as the task does, but refuse sentences that are too long to translate.

        With ``--skip-invalid-size-inputs-valid-test`` the task would skip them. A training may skip
        sentences of its validation set, which changes no translation.
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

    @property
    def _seed_difference(self) -> int:
        """Difference of the order's seed from the seed of the run; 0 without ``--data-seed``."""
        data_seed: Optional[int] = self.cfg.data_seed  # type: ignore[attr-defined]
        if data_seed is None:
            return 0
        return order_seed(data_seed) - int(whole_config(self.cfg).common.seed)  # type: ignore[attr-defined]

    def _is_training_set(self, dataset: Any) -> bool:
        if self.run is None:
            return False
        subset = self._dataset_settings.train_subset
        return dataset is self.datasets.get(subset)  # type: ignore[attr-defined]


def dictionaries_of(task: Any, adapter: TaskAdapter) -> Dictionaries:
    """Return the symbols of a task's dictionaries, without fairseq's special ones."""
    dictionaries = {n: getattr(task, v.attributes[0]) for n, v in adapter.vocabularies.items()}
    return Dictionaries({n: tuple(d.symbols[d.nspecial :]) for n, d in dictionaries.items()})
