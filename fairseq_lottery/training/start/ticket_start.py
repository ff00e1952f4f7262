"""The ticket of a fresh run, and the checkpoint that starts a rewound update counter.

Only a checkpoint sets the trainer's update counter. So for a ticket that starts at update t, this
module writes a ``checkpoint_last.pt`` with t updates, the weights and no optimizer state.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats import Dictionaries, Ticket, load_ticket, save_ticket
from fairseq_lottery.formats.model_structure import refuse_other_structure
from fairseq_lottery.inference.flow_mask import find_flow_mask
from fairseq_lottery.inference.model_builder import initial_weights
from fairseq_lottery.masks.distributions import dense_note
from fairseq_lottery.options import TRAINING, values
from fairseq_lottery.tickets import DrawPlan, draw
from fairseq_lottery.training.processes.ranks import is_first

logger = logging.getLogger(__name__)

#: learning-rate schedulers whose only state is the update counter
_STATELESS = (
    *("cosine", "fixed", "inverse_sqrt", "pass_through"),
    *("polynomial_decay", "tri_stage", "triangular"),
)


def find_ticket(
    cfg: Any,
    training: Any,
    shapes: Mapping[str, tuple[int, ...]],
    structure: Mapping[str, int],
    dictionaries: Dictionaries,
) -> Ticket:
    """Load the ticket of a fresh run, or draw it and save it in the save-dir.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.
        shapes: name -> shape of every parameter of the model.
        structure: depth, width and heads of the model.

    Raises:
        LotteryError: the ticket does not match model or data, or cannot start this run.
    """
    if cfg.ticket:
        ticket = load_ticket(cfg.ticket)
    else:
        plan = DrawPlan(**values(cfg, DrawPlan, place=TRAINING))
        ticket = draw(plan, initial_weights, find_mask=find_flow_mask)
    ticket.dictionaries.refuse_other(
        dictionaries, "the ticket" if cfg.ticket else "the drawn ticket"
    )
    refuse_other_structure(ticket.structure, structure, "the ticket", "the model")
    ticket.refuse_model(shapes)
    if ticket.first_update:
        refuse_rewind(training, ticket.first_update)
    logger.info("starting from the ticket %s", ticket.record["signature"])
    note = dense_note(str(ticket.record.get("scope")), ticket.mask)
    if note:
        logger.info(note)
    if not ticket.record["masters"]:
        logger.warning(
            "the ticket comes from half-precision weights without fp32 masters: weights are"
            " rounded, and scores have ties"
        )
    if cfg.mask_from and is_first():
        folder = Path(training.checkpoint.save_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_ticket(folder / "ticket.safetensors", ticket)
    return ticket


def refuse_rewind(training: Any, update: int) -> None:
    """Refuse a run that cannot start at ``update`` from a prepared checkpoint.

    Args:
        update: update at which the ticket's update counter starts.
        training: fairseq's complete configuration.
    """
    most, checkpoint = training.optimization.max_update, training.checkpoint
    if most and update >= most:
        raise LotteryError(
            f"the ticket's update counter starts at {update}, but --max-update {most} ends the run"
            " there or before; raise it, or draw with --update-counter restart"
        )
    if training.common.get("amp"):
        raise LotteryError(
            "a ticket whose update counter rewinds cannot start under --amp; train in fp32 or with"
            " --fp16, or draw with --update-counter restart"
        )
    if checkpoint.reset_optimizer or checkpoint.restore_file != "checkpoint_last.pt":
        raise LotteryError(
            "a ticket whose update counter rewinds starts from a prepared checkpoint, which"
            " --reset-optimizer and --restore-file would ignore; leave them out"
        )
    scheduler = training.lr_scheduler._name
    if scheduler not in _STATELESS:
        raise LotteryError(
            f"--update-counter rewind cannot restore the state of --lr-scheduler {scheduler};"
            f" choose one of {', '.join(_STATELESS)}"
        )


def write_prepared(
    training: Any, model: torch.nn.Module, update: int, task_state: dict[str, Any]
) -> None:
    """Write ``checkpoint_last.pt`` of ``model`` at ``update``."""
    folder = Path(training.checkpoint.save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    criterion, optimizer = trainer_classes(training)
    state = {
        "args": None,
        "cfg": None,
        "model": model.state_dict(),
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": criterion,
                "optimizer_name": optimizer,
                "lr_scheduler_state": {"best": None},
                "num_updates": update,
            }
        ],
        "task_state": {"lottery": {**task_state, "prepared": True}},
        "extra_state": {
            "train_iterator": dict(version=2, epoch=1, iterations_in_epoch=0, shuffle=True),
            "val_loss": None,
            **({"ema": model.state_dict()} if training.ema.store_ema else {}),
        },
        "last_optimizer_state": {"state": {}, "param_groups": [], "lottery": {"fresh": True}},
    }
    suffix = training.checkpoint.checkpoint_suffix or ""
    with replacing(folder / f"checkpoint_last{suffix}.pt") as temporary:
        torch.save(state, temporary)


def trainer_classes(training: Any) -> tuple[str, str]:
    """Return the class names of the criterion and of the trainer's optimizer.

    fairseq stores both in a checkpoint, and resumes only if they match.

    Args:
        training: fairseq's complete configuration.
    """
    common = training.common
    optimizer = OPTIMIZER_REGISTRY[training.optimizer._name].__name__
    if common.memory_efficient_fp16 or common.memory_efficient_bf16:
        optimizer = "MemoryEfficientFP16Optimizer"
    elif common.get("amp"):
        optimizer = "AMPOptimizer"
    elif common.fp16 or common.bf16:
        optimizer = "FP16Optimizer"
    return CRITERION_REGISTRY[training.criterion._name].__name__, optimizer
