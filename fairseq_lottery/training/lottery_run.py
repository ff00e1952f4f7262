"""The state of one training under the lottery task: its mask, and what enforces it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq_lottery import __version__
from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.compat import forget_best, whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Ticket, mask_to_state, save_snapshot, trainable
from fairseq_lottery.formats.checkpoints.architecture import architecture_of
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.masks import (
    Mask,
    PrunableShare,
    PrunerInput,
    find_score,
    score_all,
)
from fairseq_lottery.masks.lazy_tensors import LazyTensors
from fairseq_lottery.options import Scope, values
from fairseq_lottery.training.mask_changes import GRADIENTS, schedule_state
from fairseq_lottery.training.optimizers import (
    MaskedOptimizer,
    MasterTensors,
    find_masked,
    set_moments,
)
from fairseq_lottery.training.optimizers.zeroing import zero_pruned_
from fairseq_lottery.training.patience import patience_state, restore_patience
from fairseq_lottery.training.processes.ranks import is_first, same_everywhere, wait_for_all
from fairseq_lottery.training.run_metrics import figures, signs_of
from fairseq_lottery.training.start.checkpoint_repair import mend_last
from fairseq_lottery.training.start.finished_run import keep_finished
from fairseq_lottery.training.start.provenance import origin_of
from fairseq_lottery.training.start.restored_checkpoint import Restored
from fairseq_lottery.training.start.rewound_start import write_prepared
from fairseq_lottery.training.start.run_start import Start, decide
from fairseq_lottery.training.structured_masks import refuse_structure
from fairseq_lottery.training.training_settings import Settings

logger = logging.getLogger(__name__)


class LotteryRun:
    """Enforces the mask of one training, lets its pruner change it, and writes snapshots.

    The task hands in its events: before and after every update, and after a validation.

    Args:
        cfg: the task's configuration.
        model_cfg: the model's.
        model: built, not yet moved to its device or precision.
        adapter: of the task.
        dictionaries: of the data.
    """

    def __init__(
        self,
        cfg: Any,
        model_cfg: Any,
        model: torch.nn.Module,
        adapter: TaskAdapter,
        dictionaries: Dictionaries,
    ) -> None:
        self._cfg = cfg
        self._settings = Settings.of(cfg)
        self._model = model
        self._adapter = adapter
        self._dictionaries = dictionaries
        whole = settings_of(whole_config(cfg))
        self._architecture = architecture_of({**whole, "model": model_cfg})
        named = {name: tuple(p.shape) for name, p in trainable(model).items()}
        self._mend_last()
        dictionaries.to_tensors()  # refuses too large ones now, not at the first checkpoint
        start: Start = decide(cfg, self._settings, named, adapter, dictionaries)
        self.mask = start.mask
        self.growth = start.growth
        self._ticket = start.ticket
        self._restored = start.restored
        self._snapshots = start.snapshots
        #: what every checkpoint keeps of the run's origin
        stored = start.restored.state if start.restored else {}
        self._origin: dict[str, Any] = {
            **origin_of(cfg, start.ticket, start.restored),
            **schedule_state(cfg, start.growth, start.restored),
        }
        if self.growth and self.growth.begins and self.mask and not self.growth.pruner.only_shrinks:
            refuse_structure(self.mask, self._origin["ticket"] or {}, cfg.pruner)
        worse = 0
        if start.restored and start.restored.goes_on and not (start.growth and start.growth.begins):
            worse = restore_patience(cfg, stored.get("patience"))
        #: nothing is left to train
        self.is_finished = keep_finished(cfg, self._settings, self._restored, worse)
        self._tensors: Optional[MasterTensors] = None
        self._masked: Optional[MaskedOptimizer] = None
        self._optimizer: Any = None
        self._ema: Optional[torch.nn.Module] = None
        #: fairseq makes a fresh run's EMA of the weights after its first update, unless it is
        #: asked for before: a mask must not change what it starts from
        self.ema_exists = start.restored is not None or (
            start.ticket is not None and start.ticket.clock_update > 0
        )
        self._start_signs: dict[str, np.ndarray] = {}
        self._update = 0
        self._figures: tuple[int, dict[str, float]] = (-1, {})
        self._after_updates: list[Callable[[], None]] = []
        if start.ticket is not None:
            self._load(start.ticket.values)
        signs = stored.get("start_signs") or {}
        # copied: the checkpoint is mapped into memory, and the run will overwrite it
        self._start_signs = {name: bits.numpy().copy() for name, bits in signs.items()}
        #: fp32, for pruners that need them; empty for all others
        self._start_weights: dict[str, Tensor] = {}
        if self._needs_start():
            kept = stored.get("start_weights") or {}
            self._start_weights = {name: weight.clone() for name, weight in kept.items()}
        if start.ticket is not None and start.ticket.clock_update > 0:
            if is_first():
                write_prepared(self._settings, model, start.ticket.clock_update, self.state())
        if self.mask is not None and is_first():
            share = PrunableShare.of(self.mask, trainable(model))
            logger.log(logging.WARNING if share.is_small else logging.INFO, "%s", share)
        same_everywhere(self.mask.digest() if self.mask is not None else "dense", "mask")

    @property
    def model(self) -> torch.nn.Module:
        """The model itself, whatever wraps it."""
        return self._model

    @property
    def restored(self) -> Optional[Restored]:
        """The checkpoint that it goes on from, None for a fresh run."""
        return self._restored

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter of the model."""
        return {name: tuple(p.shape) for name, p in trainable(self._model).items()}

    @property
    def architecture(self) -> Mapping[str, Any]:
        """Settings that shape the model."""
        return self._architecture

    def _mend_last(self) -> None:
        """See to it, in one process for all, that the checkpoint to go on from is whole."""
        if is_first() and self._settings.restore_file == "checkpoint_last.pt":
            mended = mend_last(self._settings.save_dir, self._settings.checkpoint_suffix)
            if mended:
                logger.warning(mended)
        wait_for_all()

    def _load(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in trainable(self._model).items():
                parameter.copy_(values[name])

    # --- what checkpoints hold of us -------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Mask, record, dictionaries and start signs, as plain tensors and numbers."""
        return {
            "version": __version__,
            **self._adapter.record,
            "mask": mask_to_state(self.mask) if self.mask is not None else None,
            **self._origin,
            **({"growth": self.growth.stored()} if self.growth is not None else {}),
            "patience": patience_state(),
            "dictionaries": self._dictionaries.to_tensors(),
            "start_signs": {n: torch.from_numpy(bits) for n, bits in self._start_signs.items()},
            **({"start_weights": self._start_weights} if self._start_weights else {}),
        }

    # --- events of the training ------------------------------------------------------------

    def before_update(
        self, optimizer: Any, update: int, ema: Optional[torch.nn.Module] = None
    ) -> None:
        """Called with the trainer's optimizer before update number ``update`` + 1."""
        self._ema = ema
        self._update = update
        if optimizer is self._optimizer:
            return
        self._bind(optimizer)
        if self.growth is not None and self.growth.begins:
            forget_best()  # of a run that was denser
            self._change_mask(update, self.growth.pruner.first_mask, begins=True)
        elsewhere = self._restored is None or not self._restored.same_run
        if update in self._snapshots and elsewhere:
            self._write_snapshot(update)

    def after_update(self, update: int) -> None:
        """Called when ``update`` updates are done, or when amp has passed over the last one."""
        if self._masked is not None and not self._masked.stepped:
            return
        self._update = update
        self.ema_exists = True
        for call in self._after_updates:
            call()
        if self.growth is not None and self.growth.asks(self.growth.pruner.is_due, update):
            self._change_mask(update, self.growth.pruner.next_mask)
        if self._masked is not None and self._ends_dense_sums(update):
            self._masked.stop_accumulating()
        if update in self._snapshots:
            self._write_snapshot(update)

    def call_after_updates(self, function: Callable[[], None]) -> None:
        """Call ``function`` after every update of the optimizer, before a mask changes.

        Raises:
            LotteryError: updates that are skipped cannot be told from others.
        """
        name = self._settings.optimizer
        if self._settings.amp and not name.startswith("masked_"):
            raise LotteryError(
                f"--optimizer {name} does not say which updates --amp skips; use --optimizer"
                f" masked_{name}"
            )
        self._after_updates.append(function)

    def hide_while_growing(self, stats: dict[str, Any]) -> None:
        """Take a validation of an under-pruned model out of the choice of the best one.

        fairseq neither saves ``checkpoint_best.pt`` nor counts patience for a metric that is
        None; the value is still logged, as ``growing_<metric>``.
        """
        growth = self.growth
        if growth and not growth.asks(growth.pruner.is_at_target, stats["num_updates"]):
            metric = self._settings.best_checkpoint_metric
            stats[f"growing_{metric}"] = stats[metric]
            stats[metric] = None

    # --- enforcing -------------------------------------------------------------------------

    def _bind(self, optimizer: Any) -> None:
        """Map the mask to the tensors that ``optimizer`` updates, and check that they agree."""
        named = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self._tensors = MasterTensors(optimizer, named)
        if self.mask is None and not _is_masked(optimizer):
            self._optimizer = optimizer
            return
        self._masked = find_masked(optimizer)
        self._masked.bind(
            self._tensors.names,
            self._tensors.shapes,
            self._tensors.has_masters,
            not self._cfg.no_save_masters,
        )
        if self._tensors.has_masters and self._cfg.no_save_masters:
            logger.warning("without saved fp32 masters a resumed run starts from rounded weights")
        resumed = self._restored is not None
        if self._tensors.has_masters and resumed and not self._masked.masters_restored:
            logger.warning("no fp32 masters were restored: the weights are rounded ones")
        if self._ticket is not None:
            self._start_exactly(self._ticket)
            self._ticket = None  # its values are not needed again
        self._optimizer = optimizer
        if self.mask is None:
            return
        views = self._tensors.views
        for name, keep in self.mask.items():
            view = views[name]
            if bool((view[~keep.to(view.device)] != 0).any()):
                raise LotteryError(
                    f"{name} has weights where the mask prunes; the checkpoint was changed by"
                    " something that does not know the mask"
                )
        if not self._start_signs:
            started = trainable(self._model)
            self._start_signs = {name: signs_of(started[name]) for name in self.mask}
        if self._needs_start() and not self._start_weights:
            self._start_weights = {n: views[n].float().cpu().clone() for n in self.mask}
        self._sum_gradients()
        self._masked.set_keep(self._tensors.rows(self.mask))

    def _start_exactly(self, ticket: Ticket) -> None:
        """Give masters the ticket's own values: the model's were rounded to half precision."""
        assert self._tensors is not None
        views = self._tensors.views
        for name, parameter in trainable(self._model).items():
            value = ticket.values[name].to(parameter.device, parameter.dtype)
            if not torch.equal(parameter.data, value):
                raise LotteryError(
                    f"{name} is not the ticket's any more; something that fairseq loaded has"
                    " replaced it, so give either a ticket or a checkpoint"
                )
            if self._tensors.has_masters:
                views[name].copy_(ticket.values[name])
        set_moments(self._masked, self._tensors, ticket.moments, ticket.record["moment_numbers"])

    def _needs_start(self) -> bool:
        return self.growth is not None and "start" in self.growth.pruner.needs

    def _ends_dense_sums(self, update: int) -> bool:
        """Whether no later change of the mask reads sums of gradients of pruned weights."""
        growth = self.growth
        return (
            growth is not None
            and "dense_gradient" in growth.needs
            and not growth.asks(growth.pruner.is_active, update)
        )

    def _sum_gradients(self) -> Optional[list[Tensor]]:
        """Sums that scores and pruners need, from the first call on; None where none does."""
        assert self._masked is not None
        needs = self.growth.needs if self.growth is not None else frozenset()
        if not needs & GRADIENTS or self._ends_dense_sums(self._update):
            return None
        return self._masked.accumulate_gradients("dense_gradient" in needs)

    def _change_mask(
        self, update: int, change: Callable[[PrunerInput], Mask], begins: bool = False
    ) -> None:
        """Let the pruner ``change`` the mask, and enforce it from now on.

        Args:
            begins: no update of this pruner was done yet, so gradients are refused when looked up.
        """
        assert self.mask is not None and self._tensors is not None and self._masked is not None
        assert self.growth is not None
        sums = self._sum_gradients()
        given = self._pruner_input(update, sums, begins)
        mask = self.growth.changed_mask(change, given)
        same_everywhere(mask.digest(), "mask")
        if mask is self.mask:
            return
        self.mask = mask
        self._figures = (-1, {})
        self._masked.set_keep(self._tensors.rows(self.mask))
        for model in (self._model, self._ema):
            if model is not None:
                _zero_model(model, self.mask)
        for total in sums or []:
            total.zero_()
        logger.info(
            "pruned at update %d: %d of %d weights, sparsity %.4f",
            update,
            self.mask.pruned,
            self.mask.prunable,
            self.mask.sparsity,
        )

    def _pruner_input(self, update: int, sums: Optional[list[Tensor]], begins: bool) -> PrunerInput:
        """What a pruner may read after ``update`` updates."""
        assert self.mask is not None and self._tensors is not None and self.growth is not None
        views, mask = self._tensors.views, self.mask
        weights = {name: views[name] for name in mask}
        gradients: Optional[Mapping[str, Tensor]] = None
        dense: Optional[Mapping[str, Tensor]] = None
        if sums is not None:
            gradients = self._tensors.by_name(sums)
            if begins:
                gradients = LazyTensors(partial(_refuse_gradients, update), mask)
            if "dense_gradient" in self.growth.needs:
                found = dense = gradients
                gradients = LazyTensors(lambda n: found[n] * mask[n].to(found[n].device), mask)
        start: Optional[Mapping[str, Tensor]] = None
        if self._needs_start():
            kept = self._start_weights
            start = LazyTensors(lambda n: kept[n].to(views[n].device, copy=True), mask)
        score, _ = find_score(self._cfg.score)
        return PrunerInput(
            update=update,
            mask=mask,
            weights=LazyTensors(lambda n: views[n].float().clone(), mask),
            scores=score_all(
                score, weights, start=start, gradients=gradients, seed=self._cfg.draw_seed
            ),
            scope=Scope(**values(self._cfg, Scope)),
            seed=self._cfg.draw_seed,
            gradients=gradients,
            dense_gradients=dense,
            start=start,
        )

    def _write_snapshot(self, update: int) -> None:
        if not is_first():
            return
        assert self._tensors is not None
        folder = Path(self._settings.save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"snapshot_{update}.safetensors"
        views = self._tensors.views
        weights = {name: views[name].float() for name in trainable(self._model)}
        first = next(iter(views.values()))
        pruner = (self._origin["growth"] or {}).get("pruner")  # named unless it is gradual
        record = {
            "update": update,
            "masters": first.dtype == torch.float32,
            "architecture": self._architecture,
            "ticket": self._origin["ticket"]["signature"] if self._origin["ticket"] else None,
            "version": __version__,
            **self._adapter.record,
            **({"pruner": pruner} if pruner else {}),
        }
        save_snapshot(path, weights, self.mask, self._dictionaries, record)
        logger.info("wrote %s", path)

    # --- what the criterion logs -----------------------------------------------------------

    def figures_to_log(self, training: bool) -> dict[str, float]:
        """The figures, taken anew in validation, every ``--log-interval`` and as the mask grows."""
        due = not training or (self._update + 1) % self._settings.log_interval == 0
        if not self._figures[1] or (due and self._figures[0] != self._update):
            self._figures = (self._update, self._measure())
        return self._figures[1]

    def _measure(self) -> dict[str, float]:
        if self.mask is None:
            return {}
        found = figures(self.mask, trainable(self._model), self._start_signs)
        if self.growth is not None and not self.growth.pruner.only_shrinks:
            del found["sign_flips"]  # a regrown weight has no sign at the start
        return found


def _is_masked(optimizer: Any) -> bool:
    try:
        find_masked(optimizer)
    except LotteryError:
        return False
    return True


def _refuse_gradients(update: int, name: str) -> Tensor:
    raise LotteryError(
        f"gradients of {name} are read at update {update}, before the first backward pass; read"
        " them in next_mask only"
    )


def _zero_model(model: torch.nn.Module, mask: Mask) -> None:
    for name, parameter in model.named_parameters():
        if name in mask:
            zero_pruned_(parameter.data, mask[name].to(parameter.device, torch.uint8))
