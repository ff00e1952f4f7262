"""What a run starts from: a checkpoint to resume, a ticket, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.tasks.settings import Settings
from fairseq_lottery.tickets import read_checkpoint

_CHOICES = (
    *("sparsity", "score", "scope", "floor", "prunable", "keep_dense"),
    *("reset", "alpha", "clock", "moments", "draw_seed"),
)


def restored_path(settings: Settings) -> Optional[Path]:
    """The checkpoint that fairseq will load before training, None for a fresh start.

    The same choice as ``fairseq.checkpoint_utils.load_checkpoint`` makes.
    """
    suffix = settings.checkpoint_suffix
    if settings.restore_file == "checkpoint_last.pt":
        last = Path(settings.save_dir) / f"checkpoint_last{suffix}.pt"
        if last.exists() or settings.finetune_from_model is None:
            return last if last.exists() else None
        return Path(settings.finetune_from_model)
    path = Path(settings.restore_file.replace(".pt", suffix + ".pt"))
    return path if path.exists() else None


def restored_state(cfg: Any, settings: Settings) -> Optional[dict[str, Any]]:
    """Our part of the checkpoint that fairseq will load; ``{}`` if it has none.

    ``Trainer.load_checkpoint`` never hands a task its state back, and drops the optimizer's
    with ``--reset-optimizer``: so masks are read here, from the checkpoint itself. A start
    that was only prepared, for a ticket whose clock rewinds, is prepared again.
    """
    path = restored_path(settings)
    if path is None:
        return None
    state = (read_checkpoint(path).get("task_state") or {}).get("lottery") or {}
    if state.get("prepared"):
        return None
    asked = cfg.ticket or cfg.mask_from
    if asked and not state.get("ticket"):
        raise LotteryError(
            f"{path} holds a run without a ticket, and it would replace the weights of {asked};"
            " choose another --save-dir, or drop --restore-file"
        )
    if path.parent == Path(settings.save_dir) and cfg.mask_from:
        _refuse_other_choices(path, state.get("choices") or {}, choices(cfg))
    return state


def choices(cfg: Any) -> dict[str, Any]:
    """What a drawn ticket depends on besides its files."""
    return {name: getattr(cfg, name) for name in _CHOICES}


def _refuse_other_choices(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if name in then and then[name] != value:
            flag = "--" + name.replace("_", "-")
            raise LotteryError(
                f"{path} is of a run with {flag} {then[name]}, not {value}; choose another"
                " --save-dir"
            )
