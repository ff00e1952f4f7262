"""A ticket whose clock rewinds starts at update t: by a checkpoint made for that.

Only a checkpoint sets the trainer's update counter, so one that says "t updates done, these
weights, no optimizer state" is written where fairseq looks for the last one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.optim import OPTIMIZER_REGISTRY

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.training.training_settings import Settings

#: schedules whose state is the update counter alone
_COUNTING = (
    "cosine",
    "fixed",
    "inverse_sqrt",
    "pass_through",
    "polynomial_decay",
    "tri_stage",
    "triangular",
)


def trainer_classes(settings: Settings) -> tuple[str, str]:
    """Names of the classes of the criterion, and of what the trainer builds around ``--optimizer``.

    fairseq keeps both in a checkpoint, and resumes from no others.
    """
    return CRITERION_REGISTRY[settings.criterion].__name__, _optimizer_class(settings)


def _optimizer_class(settings: Settings) -> str:
    if settings.memory_efficient:
        return "MemoryEfficientFP16Optimizer"
    if settings.amp:
        return "AMPOptimizer"
    if settings.half:
        return "FP16Optimizer"
    return OPTIMIZER_REGISTRY[settings.optimizer].__name__


def write_prepared(
    settings: Settings, model: torch.nn.Module, update: int, task_state: dict[str, Any]
) -> None:
    """Write ``checkpoint_last.pt`` of ``model`` at ``update``."""
    if settings.lr_scheduler not in _COUNTING:
        raise LotteryError(
            f"--clock rewind cannot continue --lr-scheduler {settings.lr_scheduler}, whose state is"
            f" more than the update counter; choose one of {', '.join(_COUNTING)}"
        )
    folder = Path(settings.save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    criterion, optimizer = trainer_classes(settings)
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
            "train_iterator": {
                "version": 2,
                "epoch": 1,
                "iterations_in_epoch": 0,
                "shuffle": True,
            },
            "val_loss": None,
            **({"ema": model.state_dict()} if settings.ema else {}),
        },
        "last_optimizer_state": {
            "state": {},
            "param_groups": [],
            "lottery": {"fresh": True},
        },
    }
    with replacing(folder / f"checkpoint_last{settings.checkpoint_suffix}.pt") as temporary:
        torch.save(state, temporary)
