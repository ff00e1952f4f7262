"""Checking a plan before anything is trained, and deciding what the run starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Ticket, mask_from_state
from fairseq_lottery.masks import Mask, full_mask
from fairseq_lottery.options import Prunable, values
from fairseq_lottery.training.optimizers import MaskedOptimizer
from fairseq_lottery.training.processes.ranks import is_first, wait_for_all
from fairseq_lottery.training.pruning_steps import PruningSteps
from fairseq_lottery.training.snapshots import snapshot_updates
from fairseq_lottery.training.start.checkpoint_repair import mend_last
from fairseq_lottery.training.start.flag_checks import refuse_stray_flags, refuse_unreachable
from fairseq_lottery.training.start.provenance import origin_of, refuse_other_run
from fairseq_lottery.training.start.pruning_plan import plan_pruning
from fairseq_lottery.training.start.restored_checkpoint import Restored, find_restored
from fairseq_lottery.training.start.resumed_pruner import schedule_state
from fairseq_lottery.training.start.run_end import keep_finished, restore_patience
from fairseq_lottery.training.start.ticket_start import find_ticket

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        mask: the mask to enforce, None where nothing is pruned and nothing will be.
        ticket: given or drawn for a fresh run; a resumed run opens none.
        restored: the checkpoint to go on from, None for a fresh run.
        pruning: how the mask changes during training, None where it does not.
        snapshots: updates at which the weights are written.
        origin: what every checkpoint keeps of where the run comes from.
        is_finished: nothing is left to train.
    """

    mask: Optional[Mask]
    ticket: Optional[Ticket]
    restored: Optional[Restored]
    pruning: Optional[PruningSteps]
    snapshots: list[int]
    origin: dict[str, Any]
    is_finished: bool

    @property
    def rewound_to(self) -> int:
        """The update at which a ticket starts the counter; 0 for all other runs."""
        return self.ticket.first_update if self.ticket else 0


def decide(
    cfg: Any,
    training: Any,
    shapes: Mapping[str, tuple[int, ...]],
    adapter: TaskAdapter,
    dictionaries: Dictionaries,
) -> Start:
    """Read, draw or restore what the run of ``cfg`` starts from.

    Args:
        training: fairseq's whole configuration, of which ``cfg`` is the task's.
        shapes: name -> shape of every parameter of the model.

    Raises:
        LotteryError: anything that would go wrong later, before any training.
    """
    refuse_stray_flags(cfg)
    refuse_unreachable(cfg, training)
    checkpoint = training.checkpoint
    if is_first() and checkpoint.restore_file == "checkpoint_last.pt":
        mended = mend_last(checkpoint.save_dir, checkpoint.checkpoint_suffix or "")
        if mended:
            logger.warning(mended)
    wait_for_all()
    restored = find_restored(training, has_ticket=bool(cfg.ticket or cfg.mask_from))
    ticket = mask = None
    if restored is not None:
        refuse_other_run(cfg, training, restored, adapter, dictionaries)
        stored = restored.state.get("mask")
        mask = mask_from_state(stored) if stored else None
    elif cfg.ticket or cfg.mask_from:
        ticket = find_ticket(cfg, training, shapes, dictionaries)
        mask = ticket.mask
    if mask is not None:
        mask.check(shapes)
    elif cfg.prune_to is not None:
        mask = full_mask(shapes, **values(cfg, Prunable))
    pruning = plan_pruning(cfg, training, mask, ticket, restored) if mask is not None else None
    _refuse_unmasked(training, mask, restored)
    snapshots = snapshot_updates(cfg, training, ticket.first_update if ticket else 0)
    is_finished = False
    if restored is not None:
        keeps_count = restored.goes_on and not (pruning and pruning.begins)
        worse = restore_patience(training, restored) if keeps_count else 0
        is_finished = keep_finished(training, restored, worse)
    origin = {**origin_of(cfg, ticket, restored), **schedule_state(cfg, pruning, restored)}
    return Start(mask, ticket, restored, pruning, snapshots, origin, is_finished)


def _refuse_unmasked(training: Any, mask: Optional[Mask], restored: Optional[Restored]) -> None:
    """Refuse averaged weights and optimizers that know no mask."""
    if training.ema.store_ema and training.ema.ema_seed_model and mask is not None:
        raise LotteryError(
            "--ema-seed-model starts the EMA from weights that no mask has pruned; do without it"
        )
    if training.ema.store_ema and restored is not None and not restored.ema:
        raise LotteryError(
            f"{restored.path} holds no EMA, and fairseq starts none in the middle of a run; do"
            " without --store-ema"
        )
    optimizer = training.optimizer._name
    is_masked = issubclass(OPTIMIZER_REGISTRY.get(optimizer, object), MaskedOptimizer)
    if mask is not None and not is_masked:
        raise LotteryError(
            f"--optimizer {optimizer} does not keep pruned weights at zero; use"
            " --optimizer masked_<name>, for instance masked_adam"
        )
