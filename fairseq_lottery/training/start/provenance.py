"""What a run keeps of where it comes from; whether a command that resumes it is still its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from fairseq_lottery.adapters import TaskAdapter, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, sha256_of
from fairseq_lottery.formats import Dictionaries, Ticket, ticket_digest
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.options import (
    TRAINING,
    Option,
    Prunable,
    Ranking,
    Reset,
    Seed,
    Sources,
    options,
)
from fairseq_lottery.training.processes.ranks import is_first
from fairseq_lottery.training.start.restored_checkpoint import Restored
from fairseq_lottery.training.start.ticket_start import trainer_classes

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
    return {
        one.key(TRAINING): one.stored_value(getattr(cfg, one.name_in(TRAINING))) for one in _CHOICES
    }


def _files(cfg: Any) -> Optional[dict[str, dict[str, str]]]:
    """Path as given and SHA-256 of each file that ``cfg`` draws its ticket from; or None."""
    if not cfg.mask_from:
        return None
    paths = {one.name: str(getattr(cfg, one.name)) for one in _FILES if getattr(cfg, one.name)}
    return {name: {"path": path, "sha256": sha256_of(path)} for name, path in paths.items()}


def refuse_other_run(
    cfg: Any, training: Any, restored: Restored, adapter: TaskAdapter, dictionaries: Dictionaries
) -> None:
    """Refuse to go on from a checkpoint that is not what ``cfg`` asks for.

    Args:
        training: fairseq's whole configuration, of which ``cfg`` is the task's.
    """
    state, path = restored.state, restored.path
    task = stored_adapter(state, path).name if state else adapter.name
    if task != adapter.name and restored.same_run:
        raise LotteryError(
            f"{path} is of a run of the task {task}, not {adapter.name}; choose another --save-dir"
        )
    if state.get("dictionaries") and task == adapter.name:
        stored = Dictionaries.from_tensors(state["dictionaries"], adapter.vocabularies)
        stored.refuse_other(dictionaries, str(path))
    if cfg.ticket or cfg.mask_from:
        _refuse_other_ticket(cfg, restored)
    if restored.counts_on:
        _refuse_other_trainer(training, restored)


def _refuse_other_ticket(cfg: Any, restored: Restored) -> None:
    """Refuse a ticket, or a way to draw one, that is not the one of the checkpoint."""
    state, path = restored.state, restored.path
    if not restored.same_run or not state.get("ticket"):
        raise LotteryError(
            f"{path} would replace the weights of {cfg.ticket or cfg.mask_from}; choose another"
            " --save-dir, or do without --restore-file, --continue-once and --finetune-from-model"
        )
    if cfg.ticket and Path(cfg.ticket).is_file():
        if state.get("ticket_digest") != ticket_digest(cfg.ticket):
            raise LotteryError(
                f"{path} is of a run with another ticket than {cfg.ticket}; choose another"
                " --save-dir"
            )
    for option, then, now in _differences(cfg, restored) if cfg.mask_from else ():
        restored.refuse_flag(option.flag_in(TRAINING), then, now)


def _differences(cfg: Any, restored: Restored) -> Iterator[tuple[Option, Any, Any]]:
    """Options of a draw whose values, then and now, make other tickets.

    A file may have moved, if it is the same to the byte. Where the command is the run's own it
    goes on whatever has become of the files: it does not read them again.
    """
    then, now = restored.state.get("choices") or {}, _choices(cfg) or {}
    for one in _CHOICES:
        key = one.key(TRAINING)
        if key in then and then[key] != now[key]:
            yield one, then[key], now[key]
    if "files" not in restored.state:
        return
    stored = restored.state["files"]
    if stored is None:
        raise LotteryError(
            f"{restored.path} is of a run that was given its ticket, and --mask-from draws one;"
            " choose another --save-dir"
        )
    for one in _FILES:
        given, file = getattr(cfg, one.name), stored.get(one.name) or {}
        if given == file.get("path"):
            if given and is_first() and _sha256(given) not in (None, file["sha256"]):
                logger.warning("%s has changed, and the run goes on with what it drew", given)
        elif not given or _sha256(given) != file.get("sha256"):
            yield one, file.get("path"), given


def _refuse_other_trainer(training: Any, restored: Restored) -> None:
    """Refuse to load the state of another optimizer, or that belongs to another criterion.

    fairseq compares classes. In half precision all optimizers have the same wrapper, whose class
    says nothing, and loading the state of another one fails. A mask makes no difference to it.
    """
    asked = training.criterion._name
    if has_gates(restored.criterion) and not asked.endswith("_gates"):
        raise LotteryError(
            f"{restored.path} is of a run whose gates learn, which --criterion {asked} has none"
            " of; choose another --save-dir"
        )
    criterion, optimizer = trainer_classes(training)
    now = training.optimizer._name
    then = str(restored.optimizer or now)
    saved = [("criterion", restored.classes[0] or criterion, criterion)]
    if then.replace("masked_", "") != now.replace("masked_", ""):
        saved.append(("optimizer", then, now))
    else:
        saved.append(("optimizer", restored.classes[1] or optimizer, optimizer))
    for what, name, expected in saved:
        if name != expected:
            raise LotteryError(
                f"{restored.path} was saved with the {what} {str(name)[:50]}, not {expected};"
                " resume with the flags that it was trained with, or give --reset-optimizer, which"
                " starts again at update 0"
            )


def _sha256(path: str) -> Optional[str]:
    """Of a file that may have been removed since; then None."""
    try:
        return sha256_of(path) if is_plain(path) else None
    except OSError:
        return None
