"""The checkpoint that fairseq will load before training, and what of it is ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tasks.settings import Settings
from fairseq_lottery.tickets import Dictionaries, read_checkpoint, ticket_digest

#: what a drawn ticket depends on besides its files
_CHOICES = (
    *("sparsity", "score", "scope", "floor", "prunable", "keep_dense"),
    *("reset", "alpha", "clock", "moments", "draw_seed"),
)


@dataclass(frozen=True)
class Restored:
    """A checkpoint that the run goes on from.

    Attributes:
        path: the file.
        state: our part of it, empty if another task wrote it.
        update: what fairseq's counter will be: the checkpoint's, or 0 without its optimizer.
        same_run: it is the last checkpoint of the save-dir itself.
        ema: it holds averaged weights.
    """

    path: Path
    state: dict[str, Any]
    update: int
    same_run: bool
    ema: bool


def _restored_path(settings: Settings) -> tuple[Optional[Path], bool]:
    """The same choice as ``fairseq.checkpoint_utils.load_checkpoint``, and if it fine-tunes."""
    suffix = settings.checkpoint_suffix
    if settings.restore_file != "checkpoint_last.pt":
        path = Path(settings.restore_file.replace(".pt", suffix + ".pt"))
        return (path if path.exists() else None), False
    last = Path(settings.save_dir) / f"checkpoint_last{suffix}.pt"
    if last.exists():
        return last, False
    if settings.continue_once is not None:
        return Path(settings.continue_once), False
    if settings.finetune_from_model is not None:
        return Path(settings.finetune_from_model), True
    return None, False


def find_restored(settings: Settings) -> Optional[Restored]:
    """What fairseq will restore; None for a fresh start.

    ``Trainer.load_checkpoint`` never hands a task its state back, and drops the optimizer's
    with ``--reset-optimizer``: so it is read here, from the checkpoint itself. A start that
    was only prepared, for a ticket whose clock rewinds, is prepared again.
    """
    path, finetunes = _restored_path(settings)
    if path is None:
        return None
    whole = read_checkpoint(path)
    state = (whole.get("task_state") or {}).get("lottery") or {}
    if state.get("prepared"):
        return None
    # fairseq restores its counter together with the optimizer only
    keeps = whole.get("last_optimizer_state") is not None and not settings.reset_optimizer
    history = whole.get("optimizer_history") or [{}]
    update = int(history[-1].get("num_updates") or 0) if keeps and not finetunes else 0
    last = Path(settings.save_dir) / f"checkpoint_last{settings.checkpoint_suffix}.pt"
    ema = "ema" in (whole.get("extra_state") or {})
    return Restored(path, state, update, path == last, ema)


def choices(cfg: Any) -> Optional[dict[str, Any]]:
    """What the ticket that ``cfg`` draws depends on besides its files; None if it draws none."""
    return {name: getattr(cfg, name) for name in _CHOICES} if cfg.mask_from else None


def refuse_other_run(cfg: Any, restored: Restored, dictionaries: Dictionaries) -> None:
    """Refuse to go on from a checkpoint that is not what ``cfg`` asks for."""
    state, path = restored.state, restored.path
    if state.get("dictionaries"):
        stored = Dictionaries.from_tensors(state["dictionaries"])
        stored.refuse_other(dictionaries, str(path))
    asked = cfg.ticket or cfg.mask_from
    if not asked:
        return
    if not restored.same_run or not state.get("ticket"):
        raise LotteryError(
            f"{path} would replace the weights of {asked}; choose another --save-dir, or do"
            " without --restore-file, --continue-once and --finetune-from-model"
        )
    if cfg.ticket and Path(cfg.ticket).is_file():
        if state.get("ticket_digest") != ticket_digest(cfg.ticket):
            raise LotteryError(
                f"{path} is of a run with another ticket than {cfg.ticket}; choose another"
                " --save-dir"
            )
    then, now = state.get("choices"), choices(cfg)
    for name in now or {}:
        if then and now and then[name] != now[name]:
            flag = "--" + name.replace("_", "-")
            raise LotteryError(
                f"{path} is of a run with {flag} {then[name]}, not {now[name]}; choose another"
                " --save-dir"
            )
