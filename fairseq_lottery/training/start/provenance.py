"""Where a run comes from, and whether a command that goes on with it is still its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import TaskAdapter, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.formats import Dictionaries, Ticket, ticket_digest
from fairseq_lottery.options import TRAINING, Prunable, Ranking, Reset, Seed, Sources, options
from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.restored_checkpoint import Restored

logger = logging.getLogger(__name__)

#: what a drawn ticket depends on: options that name files, and those that do not
_DRAWN = options(Sources, Ranking, Prunable, Reset, Seed)
_FILES = [one for one in _DRAWN if one.is_file]
_CHOICES = [one for one in _DRAWN if not one.is_file]


def origin_of(cfg: Any, ticket: Optional[Ticket], restored: Optional[Restored]) -> dict[str, Any]:
    """Where a run comes from, as all its checkpoints keep it; what an older one lacks, they lack.

    Args:
        ticket: that a fresh run starts from.
        restored: the checkpoint that a run goes on from.
    """
    if restored:
        kept = ("ticket", "ticket_digest", "choices", "files")
        known = {name: restored.state[name] for name in kept if name in restored.state}
        return {"ticket": None, "ticket_digest": None, "choices": None, **known}
    return {
        "ticket": ticket.record if ticket else None,
        "ticket_digest": ticket.digest() if ticket else None,
        "choices": _choices(cfg),
        "files": _files(cfg),
    }


def _choices(cfg: Any) -> Optional[dict[str, Any]]:
    """What the ticket that ``cfg`` draws depends on besides its files; None if it draws none."""
    if not cfg.mask_from:
        return None
    return {one.key(TRAINING): getattr(cfg, one.name_in(TRAINING)) for one in _CHOICES}


def _files(cfg: Any) -> Optional[dict[str, dict[str, str]]]:
    """Path as given and SHA-256 of each file that ``cfg`` draws its ticket from; or None."""
    if not cfg.mask_from:
        return None
    paths = {one.name: str(getattr(cfg, one.name)) for one in _FILES if getattr(cfg, one.name)}
    return {name: {"path": path, "sha256": sha256_of(path)} for name, path in paths.items()}


def refuse_other_run(
    cfg: Any, restored: Restored, adapter: TaskAdapter, dictionaries: Dictionaries
) -> None:
    """Refuse to go on from a checkpoint that is not what ``cfg`` asks for."""
    state, path = restored.state, restored.path
    task = stored_adapter(state, path).name if state else adapter.name
    if task != adapter.name and restored.same_run:
        raise LotteryError(
            f"{path} is of a run of the task {task}, not {adapter.name}; choose another --save-dir"
        )
    if state.get("dictionaries") and task == adapter.name:
        stored = Dictionaries.from_tensors(state["dictionaries"], adapter.vocabularies)
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
    then, now = state.get("choices") or {}, _choices(cfg) or {}
    for one in _CHOICES if now else ():
        key = one.key(TRAINING)
        if key in then and then[key] != now[key]:
            restored.refuse_flag(one.flag_in(TRAINING), then[key], now[key])
    if cfg.mask_from and "files" in state:
        _refuse_other_files(cfg, restored, state["files"])


def _refuse_other_files(cfg: Any, restored: Restored, stored: Optional[Mapping[str, Any]]) -> None:
    """Refuse to take a run for one whose ticket is drawn from other files.

    A file may have moved, if it is the same to the byte. Where the command is the run's own it
    goes on whatever has become of the files: it does not read them again.
    """
    if stored is None:
        raise LotteryError(
            f"{restored.path} is of a run that was given its ticket, and --mask-from draws one;"
            " choose another --save-dir"
        )
    for one in _FILES:
        given, then = getattr(cfg, one.name), stored.get(one.name) or {}
        if given == then.get("path"):
            if given and is_first() and _sha256(given) not in (None, then["sha256"]):
                logger.warning("%s has changed, and the run goes on with what it drew", given)
        elif not given or _sha256(given) != then.get("sha256"):
            restored.refuse_flag(one.flag_in(TRAINING), then.get("path"), given)


def _sha256(path: str) -> Optional[str]:
    """Of a file that may have been removed since; then None."""
    try:
        return sha256_of(path) if is_plain(path) else None
    except OSError:
        return None
