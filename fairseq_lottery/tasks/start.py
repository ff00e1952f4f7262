"""Checking a plan before anything is trained, and deciding what the run starts from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.compat import whole_config
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Gradual, Mask, find_score, prunable_matrices
from fairseq_lottery.tasks.initialise import initial_weights
from fairseq_lottery.tasks.ranks import is_first
from fairseq_lottery.tasks.restore import restored_state
from fairseq_lottery.tasks.settings import Settings
from fairseq_lottery.tickets import (
    Dictionaries,
    Ticket,
    draw,
    load_ticket,
    mask_from_state,
    save_ticket,
)
from fairseq_lottery.tickets.draw import DrawPlan

logger = logging.getLogger(__name__)

_DRAWING = ("start_from", "sparsity", "mask_file", "score_file", "gradients", "initial")


@dataclass
class Start:
    """What a run starts from.

    Attributes:
        mask: the mask to enforce, None where nothing is pruned and nothing will be.
        ticket: given or drawn for a fresh run; a resumed run opens none.
        restored: our part of the checkpoint to resume, None for a fresh run.
        record: of the ticket, kept in every checkpoint.
        gradual: how the mask grows during training, None where it does not.
    """

    mask: Optional[Mask]
    ticket: Optional[Ticket]
    restored: Optional[dict[str, Any]]
    record: Optional[dict[str, Any]]
    gradual: Optional[Gradual]


def snapshot_updates(cfg: Any, settings: Settings) -> list[int]:
    """``--snapshot-updates`` as sorted numbers."""
    if not cfg.snapshot_updates:
        return []
    try:
        updates = sorted({int(part) for part in str(cfg.snapshot_updates).split(",")})
    except ValueError:
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} must be numbers with commas, as 0,4000"
        ) from None
    if updates[0] < 0 or (settings.max_update and updates[-1] > settings.max_update):
        raise LotteryError(
            f"--snapshot-updates {cfg.snapshot_updates} must lie in 0 to --max-update"
            f" {settings.max_update}, or the snapshot would never be written"
        )
    return updates


def refuse_setup(cfg: Any) -> None:
    """Refuse ways of training in which masks cannot be enforced."""
    whole = whole_config(cfg)
    if "distributed_training" not in whole:
        return  # a task alone, as from a checkpoint
    distributed = whole.distributed_training
    reasons = {
        "--ddp-backend fully_sharded": str(distributed.ddp_backend) == "fully_sharded",
        "--zero-sharding": str(distributed.zero_sharding) != "none",
        "--pipeline-model-parallel": bool(distributed.pipeline_model_parallel),
        "--use-bmuf": bool(whole.optimization.use_bmuf),
        "--model-parallel-size": int(whole.common.model_parallel_size) > 1,
        "--tpu": bool(whole.common.tpu),
    }
    for flag, given in reasons.items():
        if given:
            raise LotteryError(
                f"{flag} hides the weights that are updated, so masks cannot be enforced; train"
                " without it, for instance with --ddp-backend legacy_ddp"
            )


def decide(
    cfg: Any,
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
    dictionaries: Dictionaries,
) -> Start:
    """Read, draw or restore what the run of ``cfg`` starts from.

    Args:
        shapes: name -> shape of every parameter of the model.
        dictionaries: of the data.

    Raises:
        LotteryError: anything that would go wrong later, before any training.
    """
    snapshot_updates(cfg, settings)
    if cfg.ticket and cfg.mask_from:
        raise LotteryError("--ticket and --mask-from both say what to start from; give one")
    if not cfg.mask_from:
        for name in _DRAWING:
            if getattr(cfg, name) is not None:
                flag = "--" + name.replace("_", "-")
                raise LotteryError(f"{flag} is about drawing a ticket and needs --mask-from")
    restored = restored_state(cfg, settings)
    if restored is not None:
        mask = mask_from_state(restored["mask"]) if restored.get("mask") else None
        record = restored.get("ticket")
        ticket = None
        # a counter that starts again starts a schedule of its own
        anew = settings.reset_optimizer or settings.finetune_from_model is not None
        initial = None if anew else restored.get("initial_sparsity")
    else:
        ticket = _ticket(cfg, settings, shapes, dictionaries)
        mask = ticket.mask if ticket else None
        record = ticket.record if ticket else None
        initial = None
    if mask is not None:
        mask.check(shapes)
    gradual = None
    if cfg.prune_to is not None:
        if mask is None:
            rows = prunable_matrices(shapes, cfg.prunable, cfg.keep_dense)
            protected = {name: row for name, row in rows.items() if row is not None}
            mask = Mask.full({name: shapes[name] for name in rows}, protected)
        gradual = _gradual(cfg, settings, mask, initial, record)
        if ticket is not None and ticket.clock_update > gradual.start:
            raise LotteryError(
                f"--prune-start {gradual.start} lies before update {ticket.clock_update}, where"
                " the ticket's clock starts; start pruning there or later"
            )
    return Start(mask, ticket, restored, record, gradual)


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
        names = set(DrawPlan.__dataclass_fields__) - {"seed"}
        plan = DrawPlan(**{name: getattr(cfg, name) for name in names}, seed=cfg.draw_seed)
        ticket = draw(plan, initial_weights)
        whose = "the drawn ticket"
    else:
        return None
    ticket.dictionaries.refuse_other(dictionaries, whose)
    ticket.refuse_model(shapes)
    if ticket.clock_update and settings.amp:
        raise LotteryError(
            "a ticket whose clock rewinds cannot start under --amp, where fairseq restores the"
            " optimizer by itself; train in fp32 or --fp16, or draw with --clock restart"
        )
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


def _initial_sparsity(scope: str, mask: Mask, record: Optional[Mapping[str, Any]]) -> float:
    """The sparsity that pruning during training goes on from, so that no matrix grows back."""
    if record and record["scope"] == scope and record["asked"] is not None:
        return float(record["asked"])
    if scope == "layer":
        return max(mask.sparsity_of(name) for name in mask)
    return mask.sparsity


def _gradual(
    cfg: Any,
    settings: Settings,
    mask: Mask,
    initial: Optional[float],
    record: Optional[Mapping[str, Any]],
) -> Gradual:
    score, _ = find_score(cfg.score)
    if "start" in getattr(score, "needs", ()):
        raise LotteryError(
            f"--score {cfg.score} needs start weights, which pruning during training does not"
            " keep; choose --score magnitude, or draw a ticket with it"
        )
    if "gradient" in getattr(score, "needs", ()) and settings.amp:
        raise LotteryError(
            f"--score {cfg.score} sums gradients, which fairseq leaves out of checkpoints under"
            " --amp; train in fp32 or --fp16"
        )
    if settings.ema and settings.ema_fp32:
        raise LotteryError(
            "--ema-fp32 keeps weights that a growing mask cannot reach; drop it, or prune with a"
            " ticket"
        )
    if settings.max_update and cfg.prune_end > settings.max_update:
        raise LotteryError(
            f"--prune-end {cfg.prune_end} lies after --max-update {settings.max_update}, so the"
            " target would never be reached; end the schedule earlier (Brix et al. leave a fifth)"
        )
    if initial is None:
        initial = _initial_sparsity(cfg.scope, mask, record)
    return Gradual(
        initial, cfg.prune_to, cfg.prune_start, cfg.prune_end, cfg.prune_every, cfg.prune_schedule
    )
