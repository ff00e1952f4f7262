"""``LotteryRun``: state of a training under a lottery task."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery import __version__
from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.compat import forget_best, whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, mask_to_state, trainable
from fairseq_lottery.formats.checkpoints.settings import architecture_of, settings_of
from fairseq_lottery.formats.model_structure import structure_of
from fairseq_lottery.formats.pair_masks import pair_masks_to_state
from fairseq_lottery.inference.scores.labels import refuse_other_classes
from fairseq_lottery.masks import (
    Mask,
    PrunableShare,
    PrunerInput,
    collapse_of,
    has_sparsity,
    shapes_of,
)
from fairseq_lottery.masks.distributions import dense_note
from fairseq_lottery.training.flop_total import FlopTotal
from fairseq_lottery.training.optimizers import (
    MaskedOptimizer,
    MasterTensors,
    find_masked,
    is_masked,
    load_exact_values,
    zero_pruned_parameters,
)
from fairseq_lottery.training.pair_weights import PairWeights
from fairseq_lottery.training.processes.ranks import is_first, require_same
from fairseq_lottery.training.pruner_memory import PrunerMemory
from fairseq_lottery.training.run_metrics import compute_metrics, signs_of
from fairseq_lottery.training.snapshots import write_snapshot
from fairseq_lottery.training.start.run_end import patience_state
from fairseq_lottery.training.start.run_start import decide_start
from fairseq_lottery.training.start.start_mask import ExampleMaker, find_start_mask
from fairseq_lottery.training.start.ticket_start import write_prepared

logger = logging.getLogger(__name__)


class LotteryRun:
    """State of one training, which enforces its mask, prunes and writes snapshots.

    The task forwards its events: before and after every update, and after a validation.

    Args:
        cfg: the task's configuration.
        model_cfg: the model's configuration.
        model: new model, not yet on its device or in its precision.
        adapter: adapter of the task.
        dictionaries: dictionaries of the data.
        classes: names of the classes in the data, in order; empty for other tasks.

    Attributes:
        model: the model without wrappers.
        architecture: settings that shape the model.
        shapes: name -> shape of every parameter of the model, without the task's head.
        mask: mask that is enforced now; None if the run never prunes.
        pruning: pruning steps; None if the mask does not change.
        pair_weights: the model under the masks of its pairs; None for other runs.
        flops: floating-point operations of the training so far.
        restored: checkpoint from which the run resumes; None for a fresh run.
        is_finished: whether the training has already reached its end.
        ema_exists: whether the trainer has averaged weights. A fresh run's EMA starts from the
            weights after the first update, unless it is read earlier. A mask must not change its
            start, so the EMA is not read before it exists.
    """

    def __init__(
        self,
        cfg: Any,
        model_cfg: Any,
        model: nn.Module,
        adapter: TaskAdapter,
        dictionaries: Dictionaries,
        classes: Sequence[str] = (),
    ) -> None:
        self._training = whole_config(cfg)
        self.model = model
        self._adapter, self._dictionaries, self._classes = adapter, dictionaries, list(classes)
        self.architecture = architecture_of({**settings_of(self._training), "model": model_cfg})
        self.shapes = shapes_of(self._parameters)
        dictionaries.to_tensors()  # refuses too large ones now, not at the first checkpoint
        structure = structure_of(self.shapes, self.architecture, adapter)
        start = decide_start(cfg, self._training, self.shapes, structure, adapter, dictionaries)
        self.mask, self.pruning, self.restored = start.mask, start.pruning, start.restored
        if self.restored is not None and self.restored.is_same_run:
            stored = self.restored.state.get("classes")
            refuse_other_classes(self._classes, stored, cfg.data, self.restored.path)
        self.is_finished = start.is_finished
        self.pair_weights = None
        if start.pair_masks is not None:
            self.pair_weights = PairWeights(model, start.pair_masks)
        self.ema_exists = start.restored is not None or start.rewound_to > 0
        self._ticket, self._provenance = start.ticket, start.provenance
        #: head that replaces the one that fairseq loads from a file to start from
        self._head: dict[str, Tensor] = {}
        if cfg.head_seed is not None and start.restored and not start.restored.keeps_counter:
            parameters = trainable(model).items()
            self._head = {n: p.detach().clone() for n, p in parameters if adapter.is_head(n)}
        self._snapshots = start.snapshots
        self._save_masters = not cfg.no_save_masters
        self._log_interval = self._training.common.log_interval
        self._tensors: Optional[MasterTensors] = None
        self._masked: Optional[MaskedOptimizer] = None
        self._optimizer: Any = None
        self._ema: Optional[nn.Module] = None
        self._update = 0
        self._metrics: tuple[int, dict[str, float]] = (-1, {})
        self._after_updates: list[Callable[[], None]] = []
        stored = start.restored.state if start.restored else {}
        is_same_run = start.restored is not None and start.restored.is_same_run
        self.flops = FlopTotal(model, adapter, stored if is_same_run else None)
        # copied, because the run will overwrite the memory-mapped checkpoint
        signs = stored.get("start_signs") or {}
        self._start_signs = {name: bits.numpy().copy() for name, bits in signs.items()}
        #: what the pruner reads besides weights; None if the mask does not change
        self._memory: Optional[PrunerMemory] = None
        if self.pruning is not None and self.mask is not None:
            is_rewound = start.rewound_to > 0
            memory = PrunerMemory(self.pruning, self.mask, stored, is_same_run, is_rewound)
            self._memory = memory
        if start.ticket is not None:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(start.ticket.values[name])
        if start.rewound_to and is_first():
            write_prepared(self._training, model, start.rewound_to, self.state())
        if self.mask is not None and is_first():
            share = PrunableShare.of(self.mask, self._parameters)
            logger.log(logging.WARNING if share.is_small else logging.INFO, "%s", share)
        require_same(self.mask.digest() if self.mask is not None else "dense", "mask")

    @property
    def _parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the model without the task's head, each tied tensor once."""
        return self._adapter.without_head(trainable(self.model))

    def state(self) -> dict[str, Any]:
        """Return the state of the run for checkpoints, as plain tensors and numbers."""
        return {
            "version": __version__,
            **self._adapter.record,
            "mask": mask_to_state(self.mask) if self.mask is not None else None,
            **self._provenance,
            **({"growth": self.pruning.stored()} if self.pruning is not None else {}),
            "patience": patience_state(),
            **self.flops.state(),
            "dictionaries": self._dictionaries.to_tensors(),
            **({"classes": self._classes} if self._classes else {}),
            "start_signs": {n: torch.from_numpy(bits) for n, bits in self._start_signs.items()},
            **self._memory_state,
            **self._pair_state,
        }

    @property
    def _memory_state(self) -> dict[str, Any]:
        if self._memory is None or self.mask is None:
            return {}
        return self._memory.state(self.mask)

    @property
    def _pair_state(self) -> dict[str, Any]:
        if self.pair_weights is None:
            return {}
        return {"pair_masks": pair_masks_to_state(self.pair_weights.masks)}

    # --- events of the training ------------------------------------------------------------

    def before_update(
        self,
        optimizer: Any,
        update: int,
        ema: Optional[nn.Module] = None,
        examples: Optional[ExampleMaker] = None,
    ) -> None:
        """Bind the trainer's optimizer; the task calls this before update ``update`` + 1.

        Args:
            examples: draws batches for scores, with their loss.
        """
        self._ema = ema
        self._update = update
        if optimizer is self._optimizer:
            if self._memory is not None:
                self._memory.before_update(update)
            return
        self._bind(optimizer)
        if self.pruning is not None and self.pruning.begins:
            assert self.mask is not None and self._memory is not None
            forget_best()  # the restored best model was less sparse
            before = self.mask
            self._change_mask(update, self._first_mask(update, examples), is_first=True)
            is_dense_at_first = self._provenance["ticket"] is None
            self._memory.begin_exploration(before, self.mask, is_dense_at_first)
        if self.restored is None or not self.restored.is_same_run:
            self._write_snapshot_if_due(update)

    def logged_flops(self, sample: Optional[Mapping[str, Any]]) -> dict[str, float]:
        """Return entries of a logging output with the operations of a batch."""
        reads_dense = self._masked is not None and self._masked.reads_dense_gradients
        return self.flops.logged(sample, self.mask, reads_dense)

    def after_update(self, update: int) -> None:
        """Prune and write snapshots after ``update`` updates; ignore an update that amp skipped."""
        if self._masked is not None and not self._masked.stepped:
            return
        self._update = update
        self.ema_exists = True
        for call in self._after_updates:
            call()
        if self.pruning is not None and self._memory is not None:
            if self.pruning.check(self.pruning.pruner.is_due, update):
                self._change_mask(update, self.pruning.pruner.next_mask)
            self._memory.after_update(update)
        self._write_snapshot_if_due(update)

    def call_after_updates(self, function: Callable[[], None]) -> None:
        """Call ``function`` after every update of the optimizer, before a mask changes.

        Raises:
            LotteryError: skipped updates cannot be recognized.
        """
        name = self._training.optimizer._name
        if self._training.common.get("amp") and not name.startswith("masked_"):
            raise LotteryError(
                f"--optimizer {name} does not report which updates --amp skips; use --optimizer"
                f" masked_{name}"
            )
        self._after_updates.append(function)

    def hide_under_pruned(self, stats: dict[str, Any]) -> None:
        """Exclude the validation of an under-pruned model from the selection of the best one.

        fairseq neither saves ``checkpoint_best.pt`` nor counts patience for a metric that is
        None; the value is still logged, as ``growing_<metric>``.
        """
        pruning = self.pruning
        if pruning and not pruning.check(pruning.pruner.is_at_target, stats["num_updates"]):
            metric = self._training.checkpoint.best_checkpoint_metric
            stats[f"growing_{metric}"] = stats[metric]
            stats[metric] = None

    def metrics_to_log(self, training: bool) -> dict[str, float]:
        """Return metrics; they are computed for validations, log intervals and pruning steps."""
        if self.mask is None:
            return {}
        is_due = not training or (self._update + 1) % self._log_interval == 0
        if not self._metrics[1] or (is_due and self._metrics[0] != self._update):
            metrics = compute_metrics(self.mask, self._parameters, self._start_signs)
            if self.pruning is not None and not self.pruning.pruner.only_shrinks:
                del metrics["sign_flips"]  # a regrown weight has no sign at the start
            if self._memory is not None and self._memory.exploration is not None:
                metrics["explored"] = self._memory.exploration.share
            self._metrics = (self._update, metrics)
        return self._metrics[1]

    # --- enforcing -------------------------------------------------------------------------

    def _bind(self, optimizer: Any) -> None:
        """Map the mask to the tensors that ``optimizer`` updates, and check that they match."""
        named = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self._tensors = tensors = MasterTensors(optimizer, named)
        self._optimizer = optimizer
        with torch.no_grad():
            for name, value in self._head.items():
                for tensor in (named[name], tensors.views[name]):
                    tensor.copy_(value)
        self._head = {}
        if self.mask is None and not is_masked(optimizer):
            return
        self._masked = find_masked(optimizer)
        self._masked.bind(tensors, self._save_masters)
        if tensors.has_masters and not self._save_masters:
            logger.warning("without saved fp32 masters a resumed run starts from rounded weights")
        if tensors.has_masters and self.restored and not self._masked.masters_restored:
            logger.warning("no fp32 masters were restored; the run starts from rounded weights")
        if self._ticket is not None:
            load_exact_values(self._masked, tensors, self._parameters, self._ticket)
            self._ticket = None  # frees its values
        if self.mask is None:
            return
        tensors.refuse_unpruned(self.mask)
        if not self._start_signs:
            weights = self._parameters
            self._start_signs = {name: signs_of(weights[name]) for name in self.mask}
        if self._memory is not None:
            self._memory.bind(optimizer, tensors, self.mask, self._update)
        self._masked.set_keep(tensors.rows(self.mask))

    def _first_mask(
        self, update: int, examples: Optional[ExampleMaker]
    ) -> Callable[[PrunerInput], Mask]:
        """Return the method of the pruner, or a function that computes scores of saliency."""
        assert self.mask is not None and self.pruning is not None and self._tensors is not None
        if examples is None or not self.pruning.scores_start(update):
            return self.pruning.pruner.first_mask
        if has_sparsity(self.mask, self.pruning.pruner.sparsity_at(update) or 0.0):
            return lambda inputs: inputs.mask  # the start of a rising schedule
        names = dict(self.model.named_parameters())
        weights = {name: view for name, view in self._tensors.views.items() if name in names}
        return partial(find_start_mask, self.pruning, self.model, weights, examples)

    def _change_mask(
        self, update: int, change: Callable[[PrunerInput], Mask], is_first: bool = False
    ) -> None:
        """Let ``change``, a method of the pruner, change the mask, and enforce the new mask.

        Args:
            is_first: whether this is before the first update, when reading gradients is refused.
        """
        assert self.mask is not None and self._tensors is not None and self._masked is not None
        assert self.pruning is not None and self._memory is not None
        pruner_input = self._memory.pruner_input(update, self.mask, is_first)
        mask = self.pruning.change_mask(change, pruner_input)
        require_same(mask.digest(), "mask")
        if mask is self.mask:
            return
        self._warn_of_collapse(mask)
        models = [model for model in (self.model, self._ema) if model is not None]
        regrown = self.mask.intersection(mask).pruned - mask.pruned
        self._memory.change(self.mask, mask, models)
        self.mask = mask
        self._metrics = (-1, {})
        self._masked.set_keep(self._tensors.rows(mask))
        for model in models:
            zero_pruned_parameters(model, mask)
        counts = f"{mask.pruned} of {mask.prunable} weights, sparsity {mask.sparsity:.4f}"
        counts += f"; {regrown} weights regrew" if regrown else ""
        note = dense_note(self.pruning.scope.scope, mask)
        logger.info("pruned at update %d: %s%s", update, counts, f"; {note}" if note else "")

    def _warn_of_collapse(self, mask: Mask) -> None:
        """Warn if ``mask``, the next one, empties matrices."""
        assert self.mask is not None
        collapse = collapse_of(set(mask.emptied) - set(self.mask.emptied))
        if collapse and is_first():
            logger.warning(collapse)

    def _write_snapshot_if_due(self, update: int) -> None:
        if update not in self._snapshots:
            return
        assert self._tensors is not None
        views, ticket = self._tensors.views, self._provenance["ticket"]
        pruner = (self._provenance["growth"] or {}).get("pruner")  # named unless it is gradual
        record = {
            "architecture": self.architecture,
            "ticket": ticket["signature"] if ticket else None,
            "version": __version__,
            **self._adapter.record,
            **({"pruner": pruner} if pruner else {}),
        }
        weights = {name: views[name] for name in self._parameters}
        folder = Path(self._training.checkpoint.save_dir)
        write_snapshot(folder, update, weights, self.mask, self._dictionaries, record)
