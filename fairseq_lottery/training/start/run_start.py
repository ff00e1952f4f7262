"""Checking a plan before anything is trained, and deciding what the run starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.adapters import TaskAdapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import Dictionaries, Ticket, load_ticket, mask_from_state, save_ticket
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.inference.model_builder import initial_weights
from fairseq_lottery.masks import Mask, full_mask
from fairseq_lottery.options import TRAINING, Prunable, values
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.training.mask_changes import Growth, plan_growth
from fairseq_lottery.training.optimizers import MaskedOptimizer
from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.flag_checks import refuse_stray_flags, snapshot_updates
from fairseq_lottery.training.start.provenance import refuse_other_run
from fairseq_lottery.training.start.restored_checkpoint import Restored, find_restored
from fairseq_lottery.training.start.rewound_start import trainer_classes
from fairseq_lottery.training.training_settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    Attributes:
        mask: the mask to enforce, None where nothing is pruned and nothing will be.
        ticket: given or drawn for a fresh run; a resumed run opens none.
        restored: the checkpoint to go on from, None for a fresh run.
        growth: how the mask grows during training, None where it does not.
        snapshots: updates at which the weights are written.
    """

    mask: Optional[Mask]
    ticket: Optional[Ticket]
    restored: Optional[Restored]
    growth: Optional[Growth]
    snapshots: list[int]


def decide(
    cfg: Any,
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
    adapter: TaskAdapter,
    dictionaries: Dictionaries,
) -> Start:
    """Read, draw or restore what the run of ``cfg`` starts from.

    Args:
        shapes: name -> shape of every parameter of the model.
        adapter: of the task.
        dictionaries: of the data.

    Raises:
        LotteryError: anything that would go wrong later, before any training.
    """
    refuse_stray_flags(cfg)
    restored = find_restored(settings, has_ticket=bool(cfg.ticket or cfg.mask_from))
    ticket = None
    if restored is not None:
        refuse_other_run(cfg, restored, adapter, dictionaries)
        _refuse_lost_gates(settings, restored)
        _refuse_other_optimizer(settings, restored)
        stored = restored.state.get("mask")
        mask = mask_from_state(stored) if stored else None
    else:
        ticket = _ticket(cfg, settings, shapes, dictionaries)
        mask = ticket.mask if ticket else None
    if mask is not None:
        mask.check(shapes)
    elif cfg.prune_to is not None:
        mask = full_mask(shapes, **values(cfg, Prunable))
    growth = plan_growth(cfg, settings, mask, ticket, restored) if mask is not None else None
    _refuse_ema(settings, mask, restored)
    if mask is not None and not issubclass(
        OPTIMIZER_REGISTRY.get(settings.optimizer, object), MaskedOptimizer
    ):
        raise LotteryError(
            f"--optimizer {settings.optimizer} does not keep pruned weights at zero; use"
            " --optimizer masked_<name>, for instance masked_adam"
        )
    snapshots = snapshot_updates(cfg, settings, ticket.clock_update if ticket else 0)
    return Start(mask, ticket, restored, growth, snapshots)


def _ticket(
    cfg: Any,
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
    dictionaries: Dictionaries,
) -> Optional[Ticket]:
    if cfg.ticket:
        ticket = load_ticket(cfg.ticket)
        whose = "the ticket"
    elif cfg.mask_from:
        ticket = draw(DrawPlan(**values(cfg, DrawPlan, place=TRAINING)), initial_weights)
        whose = "the drawn ticket"
    else:
        return None
    ticket.dictionaries.refuse_other(dictionaries, whose)
    ticket.refuse_model(shapes)
    if ticket.clock_update:
        _refuse_clock(settings, ticket.clock_update)
    logger.info("starting from the ticket %s", ticket.record["signature"])
    if not ticket.record["masters"]:
        logger.warning(
            "the ticket comes from half-precision weights without fp32 masters: they are rounded,"
            " and ranks have ties"
        )
    if cfg.mask_from and is_first():
        Path(settings.save_dir).mkdir(parents=True, exist_ok=True)
        save_ticket(Path(settings.save_dir) / "ticket.safetensors", ticket)
    return ticket


def _refuse_ema(settings: Settings, mask: Optional[Mask], restored: Optional[Restored]) -> None:
    """Averaged weights start from the model's, or nobody has pruned them."""
    if settings.ema and settings.ema_seed_model and mask is not None:
        raise LotteryError(
            "--ema-seed-model starts the EMA from weights that no mask has pruned; do without it"
        )
    if settings.ema and restored is not None and not restored.ema:
        raise LotteryError(
            f"{restored.path} holds no EMA, and fairseq starts none in the middle of a run; do"
            " without --store-ema"
        )


def _refuse_lost_gates(settings: Settings, restored: Restored) -> None:
    """A run in the middle of learning gates does not go on without them."""
    lost = has_gates(restored.criterion) and not settings.criterion.endswith("_gates")
    if lost and restored.counts_on:
        raise LotteryError(
            f"{restored.path} is of a run whose gates learn, which --criterion"
            f" {settings.criterion} has none of; choose another --save-dir"
        )


def _refuse_other_optimizer(settings: Settings, restored: Restored) -> None:
    """Refuse to load the state of another optimizer, or that belongs to another criterion.

    fairseq compares classes. In half precision all optimizers have the same wrapper, whose class
    says nothing, and loading the state of another one fails. A mask makes no difference to it.
    """
    if not restored.counts_on:
        return
    criterion, optimizer = trainer_classes(settings)
    found = {"criterion": (restored.classes[0] or criterion, criterion)}
    then, now = restored.optimizer or settings.optimizer, settings.optimizer
    if str(then).replace("masked_", "") != now.replace("masked_", ""):
        found["optimizer"] = (then, now)
    else:
        found["optimizer"] = (restored.classes[1] or optimizer, optimizer)
    for what, (saved, asked) in found.items():
        if saved != asked:
            raise LotteryError(
                f"{restored.path} was saved with the {what} {str(saved)[:50]}, not {asked}; resume"
                " with the flags that it was trained with, or give --reset-optimizer, which starts"
                " again at update 0"
            )


def _refuse_clock(settings: Settings, update: int) -> None:
    """A rewound clock needs updates left, and the checkpoint that is prepared for it."""
    if settings.max_update and update >= settings.max_update:
        raise LotteryError(
            f"the ticket's clock starts at update {update}, where --max-update"
            f" {settings.max_update} ends the run; raise it, or draw with --clock restart"
        )
    if settings.amp:
        raise LotteryError(
            "a ticket whose clock rewinds cannot start under --amp, where fairseq restores the"
            " optimizer by itself; train in fp32 or --fp16, or draw with --clock restart"
        )
    if settings.reset_optimizer or settings.restore_file != "checkpoint_last.pt":
        raise LotteryError(
            "a ticket whose clock rewinds starts fairseq's counter by a checkpoint, which"
            " --reset-optimizer and --restore-file would pass over; do without them"
        )
