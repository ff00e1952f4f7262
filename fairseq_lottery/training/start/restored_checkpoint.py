"""The checkpoint that fairseq will load before training, with the state of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.checkpoint import read_checkpoint
from fairseq_lottery.formats.checkpoints.checkpoint_entries import stored_entries, stored_update
from fairseq_lottery.formats.checkpoints.cut_model import is_cut, refuse_cut
from fairseq_lottery.formats.checkpoints.settings import read_settings


@dataclass(frozen=True)
class Restored:
    """Checkpoint from which a run resumes.

    Attributes:
        path: the file.
        state: ``lottery`` state in it; empty if another task wrote it.
        update: start of fairseq's counter: the checkpoint's, or 0 without its optimizer.
        trained: number of updates before the checkpoint, whatever the counter; 0 if unknown.
        is_same_run: whether it is the last checkpoint of the save-dir.
        has_ema: whether it has averaged weights.
        is_counted: whether ``trained`` is known, or the run does not need it.
        next_epoch: epoch in which the training continues.
        hours: training time in hours.
        criterion: state of the criterion, such as learned gates.
        optimizer: value of its ``--optimizer``; None if unknown.
        classes: class names of its criterion and of its optimizer with the trainer's wrapper.
    """

    path: Path
    state: Mapping[str, Any]
    update: int
    trained: int
    is_same_run: bool
    has_ema: bool
    is_counted: bool = True
    next_epoch: int = 1
    hours: float = 0.0
    criterion: Any = None
    optimizer: Any = None
    classes: tuple[Any, Any] = (None, None)

    @property
    def is_resumed(self) -> bool:
        """Whether the run continues where it ended, with the same counter."""
        return self.is_same_run and self.update == self.trained

    @property
    def keeps_counter(self) -> bool:
        """Whether counter and optimizer state continue."""
        return self.update > 0


def _last(checkpoint: Any) -> Path:
    return Path(checkpoint.save_dir) / f"checkpoint_last{checkpoint.checkpoint_suffix or ''}.pt"


def _restored_path(checkpoint: Any) -> tuple[Optional[Path], bool]:
    """Return the file that fairseq's ``load_checkpoint`` selects, and whether it fine-tunes."""
    if checkpoint.restore_file != "checkpoint_last.pt":
        suffix = checkpoint.checkpoint_suffix or ""
        path = Path(checkpoint.restore_file.replace(".pt", suffix + ".pt"))
        return (path if path.exists() else None), False
    if _last(checkpoint).exists():
        return _last(checkpoint), False
    if checkpoint.get("continue_once") is not None:
        return Path(checkpoint.continue_once), False
    if checkpoint.finetune_from_model is not None:
        return Path(checkpoint.finetune_from_model), True
    return None, False


def find_restored(training: Any, has_ticket: bool) -> Optional[Restored]:
    """Return the checkpoint that fairseq will restore; None for a fresh start.

    ``Trainer.load_checkpoint`` never passes a task its state, and drops the optimizer's with
    ``--reset-optimizer``. So this function reads the checkpoint itself. A prepared start, for a
    ticket whose update counter rewinds, is prepared again.

    Args:
        training: fairseq's complete configuration.
        has_ticket: whether the run is given a ticket or draws one.

    Raises:
        LotteryError: the checkpoint is corrupted, or requires a ticket that is not given.
    """
    path, finetunes = _restored_path(training.checkpoint)
    if path is None:
        return None
    checkpoint = read_checkpoint(path)
    settings = read_settings(checkpoint)
    if is_cut(checkpoint["model"], settings, path):
        refuse_cut(path)
    state = stored_entries(checkpoint)
    if state.get("prepared"):
        if not has_ticket:
            raise LotteryError(
                f"{path} is a prepared start of a ticket whose update counter rewinds; give that"
                " ticket again"
            )
        return None
    # fairseq restores its counter together with the optimizer only
    has_optimizer = checkpoint.get("last_optimizer_state") is not None
    keeps = has_optimizer and not training.checkpoint.reset_optimizer
    history = checkpoint.get("optimizer_history") or []
    last = history[-1] if history else {}
    counted = stored_update(checkpoint)
    trained = int(counted or 0)
    update = trained if keeps and not finetunes else 0
    extra = checkpoint.get("extra_state") or {}
    return Restored(
        path=path,
        state=state,
        update=update,
        trained=trained,
        is_same_run=path == _last(training.checkpoint),
        has_ema="ema" in extra,
        is_counted=counted is not None or not (state or (keeps and not history)),
        next_epoch=(extra.get("train_iterator") or {}).get("epoch", 1),
        hours=float(extra.get("previous_training_time", 0)) / 3600,
        criterion=checkpoint.get("criterion"),
        optimizer=settings.optimizer.get("_name"),
        classes=(last.get("criterion_name"), last.get("optimizer_name")),
    )
