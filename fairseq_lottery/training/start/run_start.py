"""Start of a run: checks before any training, and its ticket, checkpoint or mask."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Ticket, mask_from_state
from fairseq_lottery.masks import Mask, PairMasks, full_mask
from fairseq_lottery.options import Prunable, values
from fairseq_lottery.training.optimizers import MaskedOptimizer
from fairseq_lottery.training.processes.ranks import is_first, wait_for_all
from fairseq_lottery.training.pruning_steps import PruningSteps
from fairseq_lottery.training.snapshots import snapshot_updates
from fairseq_lottery.training.start.checkpoint_repair import repair_last
from fairseq_lottery.training.start.flag_checks import refuse_stray_flags, refuse_unreachable
from fairseq_lottery.training.start.provenance import provenance_of, refuse_other_run
from fairseq_lottery.training.start.pruning_plan import plan_pruning
from fairseq_lottery.training.start.restored_checkpoint import Restored, find_restored
from fairseq_lottery.training.start.resumed_pruner import resumed_pruner, stored_schedule
from fairseq_lottery.training.start.run_end import restore_patience, stop_if_finished
from fairseq_lottery.training.start.run_pair_masks import find_pair_masks
from fairseq_lottery.training.start.ticket_start import find_ticket

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Start of a run.

    Attributes:
        mask: mask to enforce; None if the run never prunes.
        ticket: given or drawn ticket of a fresh run; None for a resumed run.
        restored: checkpoint to resume from; None for a fresh run.
        pruning: pruning steps during training; None if the mask does not change.
        pair_masks: masks of pairs of languages, whose union is ``mask``; None for other runs.
        snapshots: updates at which snapshots are written.
        provenance: provenance of the run, which every checkpoint stores.
        is_finished: whether the training has already reached its end.
    """

    mask: Optional[Mask]
    ticket: Optional[Ticket]
    restored: Optional[Restored]
    pruning: Optional[PruningSteps]
    pair_masks: Optional[PairMasks]
    snapshots: list[int]
    provenance: dict[str, Any]
    is_finished: bool

    @property
    def rewound_to(self) -> int:
        """Update at which the ticket starts the counter; 0 for other runs."""
        return self.ticket.first_update if self.ticket else 0


def decide_start(
    cfg: Any,
    training: Any,
    shapes: Mapping[str, tuple[int, ...]],
    structure: Mapping[str, int],
    adapter: TaskAdapter,
    dictionaries: Dictionaries,
) -> Start:
    """Load the ticket, draw it, or restore the checkpoint from which the run starts.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
        shapes: name -> shape of every parameter of the model.
        structure: depth, width and heads of the model.

    Raises:
        LotteryError: the run cannot be carried out as configured.
    """
    refuse_unreachable(cfg, training)
    refuse_stray_flags(cfg)
    checkpoint = training.checkpoint
    if is_first() and checkpoint.restore_file == "checkpoint_last.pt":
        repair = repair_last(checkpoint.save_dir, checkpoint.checkpoint_suffix or "")
        if repair:
            logger.warning(repair)
    wait_for_all()
    restored = find_restored(training, has_ticket=bool(cfg.ticket or cfg.mask_from))
    ticket = mask = None
    if restored is not None:
        refuse_other_run(cfg, training, restored, adapter, dictionaries)
        stored = restored.state.get("mask")
        mask = mask_from_state(stored) if stored else None
    elif cfg.ticket or cfg.mask_from:
        ticket = find_ticket(cfg, training, shapes, structure, dictionaries)
        mask = ticket.mask
    if mask is not None:
        mask.check(shapes)
    elif cfg.prune_to is not None:
        mask = full_mask(shapes, **values(cfg, Prunable))
    pair_masks = find_pair_masks(cfg, training, restored, mask)
    resumed = resumed_pruner(cfg, restored) if restored is not None else None
    schedule = stored_schedule(cfg, resumed, restored)
    pruning = None
    if mask is not None:
        _refuse_unmasked(training)
        pruning = plan_pruning(cfg, training, mask, ticket, restored, resumed)
    snapshots = snapshot_updates(cfg, training, ticket.first_update if ticket else 0)
    is_finished = False
    if restored is not None:
        keeps_count = restored.is_resumed and not (pruning and pruning.begins)
        worse = restore_patience(training, restored) if keeps_count else 0
        is_finished = stop_if_finished(training, restored, worse)
    provenance = {**provenance_of(cfg, ticket, restored), **schedule}
    if pruning is not None:
        provenance["growth"] = pruning.stored()
    return Start(mask, ticket, restored, pruning, pair_masks, snapshots, provenance, is_finished)


def _refuse_unmasked(training: Any) -> None:
    """Refuse averaged weights and optimizers that would ignore the mask."""
    if training.ema.store_ema and training.ema.ema_seed_model:
        raise LotteryError("--ema-seed-model starts the EMA from unpruned weights; leave it out")
    optimizer = training.optimizer._name
    if not issubclass(OPTIMIZER_REGISTRY.get(optimizer, object), MaskedOptimizer):
        raise LotteryError(
            f"--optimizer {optimizer} does not keep pruned weights at zero; use"
            " --optimizer masked_<name>, for instance masked_adam"
        )
