"""The checkpoint that fairseq will load before training, and what of it is ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.formats.checkpoints.architecture import architecture_of
from fairseq_lottery.formats.checkpoints.checkpoint import settings_of
from fairseq_lottery.formats.checkpoints.cut_model import is_cut, refuse_cut


@dataclass(frozen=True)
class Restored:
    """A checkpoint that the run goes on from.

    Attributes:
        path: the file.
        state: our part of it, empty if another task wrote it.
        update: what fairseq's counter will be: the checkpoint's, or 0 without its optimizer.
        behind: updates behind the checkpoint, whatever the counter will be.
        same_run: it is the last checkpoint of the save-dir itself.
        ema: it holds averaged weights.
        next_epoch: the epoch that the training continues in.
        hours: training time so far.
        criterion: the state of its loss: gates, where they learn.
        optimizer: the value of its ``--optimizer``, None where it does not say.
        classes: of its criterion and of its optimizer as the trainer wraps it.
    """

    path: Path
    state: dict[str, Any]
    update: int
    behind: int
    same_run: bool
    ema: bool
    next_epoch: int = 1
    hours: float = 0.0
    criterion: Any = None
    optimizer: Any = None
    classes: tuple[Any, Any] = (None, None)

    @property
    def goes_on(self) -> bool:
        """Whether the run goes on where it was, and its counter with it."""
        return self.same_run and self.update == self.behind

    @property
    def counts_on(self) -> bool:
        """Whether the counter goes on, and the optimizer's state with it."""
        return self.update > 0

    def refuse_flag(self, flag: str, then: Any, now: Any) -> None:
        """Refuse a command that goes on with another value of a flag."""
        raise LotteryError(
            f"{self.path} is of a run with {flag} {then}, not {now}; choose another --save-dir"
        )


def _last(checkpoint: Any) -> Path:
    """The last checkpoint of the save-dir itself."""
    return Path(checkpoint.save_dir) / f"checkpoint_last{checkpoint.checkpoint_suffix or ''}.pt"


def _restored_path(checkpoint: Any) -> tuple[Optional[Path], bool]:
    """The same choice as ``fairseq.checkpoint_utils.load_checkpoint``, and if it fine-tunes."""
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
    """What fairseq will restore; None for a fresh start.

    Args:
        training: fairseq's whole configuration.
        has_ticket: the run is given a ticket, or draws one.

    ``Trainer.load_checkpoint`` never hands a task its state back, and drops the optimizer's
    with ``--reset-optimizer``: so it is read here, from the checkpoint itself. A start that
    was only prepared, for a ticket whose update counter rewinds, is prepared again.

    Raises:
        LotteryError: it is corrupted, of a run whose ticket is not given again, or something has
            taken out of it what the run needs.
    """
    path, finetunes = _restored_path(training.checkpoint)
    if path is None:
        return None
    whole = read_checkpoint(path)
    cfg = settings_of(whole.get("cfg"))
    if is_cut(whole["model"], settings_of(cfg.get("model")), architecture_of(cfg), path):
        refuse_cut(path)
    state = (whole.get("task_state") or {}).get("lottery") or {}
    if state.get("prepared"):
        if not has_ticket:
            raise LotteryError(
                f"{path} is the start of a ticket whose update counter rewinds; give that"
                " ticket again"
            )
        return None
    # fairseq restores its counter together with the optimizer only
    has_optimizer = whole.get("last_optimizer_state") is not None
    keeps = has_optimizer and not training.checkpoint.reset_optimizer
    history = whole.get("optimizer_history") or []
    last = history[-1] if history else {}
    counted = last.get("num_updates")
    _refuse_incomplete(path, state, counted is not None or not (state or (keeps and not history)))
    behind = int(counted or 0)
    update = behind if keeps and not finetunes else 0
    extra = whole.get("extra_state") or {}
    return Restored(
        path=path,
        state=state,
        update=update,
        behind=behind,
        same_run=path == _last(training.checkpoint),
        ema="ema" in extra,
        next_epoch=(extra.get("train_iterator") or {}).get("epoch", 1),
        hours=float(extra.get("previous_training_time", 0)) / 3600,
        criterion=whole.get("criterion"),
        optimizer=settings_of(cfg.get("optimizer")).get("_name"),
        classes=(last.get("criterion_name"), last.get("optimizer_name")),
    )


def _refuse_incomplete(path: Path, state: Mapping[str, Any], is_counted: bool) -> None:
    """Refuse a checkpoint out of which something has taken what the run needs."""
    ticket = state.get("ticket") or {}
    missing = {
        "number of updates": not is_counted,
        "mask": bool(ticket or state.get("growth")) and not state.get("mask"),
        "ticket's signature": bool(ticket) and not isinstance(ticket.get("signature"), str),
    }
    for what, is_missing in missing.items():
        if is_missing:
            raise LotteryError(
                f"{path} has lost its {what}; go on from another checkpoint of the run"
            )
