"""Provenance of a run, and checks that a command resumes the run it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Optional

from fairseq_lottery.adapters import TaskAdapter, stored_adapter
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain, model_file, sha256_of
from fairseq_lottery.formats import Dictionaries, Ticket, ticket_digest
from fairseq_lottery.formats.checkpoints.run_state import has_gates
from fairseq_lottery.masks import read_pruner
from fairseq_lottery.options import (
    TRAINING,
    MaskControl,
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

#: options on which a drawn ticket depends: those that name files, and the others
_DRAWN = options(Sources, Ranking, Prunable, Reset, Seed)
_FILES = [option for option in _DRAWN if option.is_file]
_CHOICES = [option for option in _DRAWN if not option.is_file]
#: options that are stored only if they are set, as checkpoints of earlier versions lack them
_CONTROLS = options(MaskControl)
#: seed of a run, stored where given -> what another seed would change in the middle of it
_SEEDS = {"data_seed": "the order of its examples", "head_seed": "its head"}


def provenance_of(
    cfg: Any, ticket: Optional[Ticket], restored: Optional[Restored]
) -> dict[str, Any]:
    """Return the provenance that all checkpoints of a run store.

    Entries that an older restored checkpoint lacks stay missing.

    Args:
        ticket: ticket of a fresh run.
        restored: checkpoint of a resumed run.
    """
    seeds = {name: getattr(cfg, name) for name in _SEEDS if getattr(cfg, name) is not None}
    if restored:
        keys = ("ticket", "ticket_digest", "choices", "files")
        stored = {key: restored.state[key] for key in keys if key in restored.state}
        return {"ticket": None, "ticket_digest": None, "choices": None, **stored, **seeds}
    return {
        "ticket": ticket.record if ticket else None,
        "ticket_digest": ticket.digest() if ticket else None,
        "choices": _choices(cfg),
        "files": _files(cfg),
        **seeds,
    }


def _choices(cfg: Any) -> Optional[dict[str, Any]]:
    """Return the options of the draw that are not files; None if ``cfg`` draws no ticket."""
    if not cfg.mask_from:
        return None
    return {
        choice.key(TRAINING): choice.stored_value(getattr(cfg, choice.name_in(TRAINING)))
        for choice in (*_CHOICES, *(c for c in _CONTROLS if getattr(cfg, c.name)))
    }


def _files(cfg: Any) -> Optional[dict[str, dict[str, str]]]:
    """Return path and SHA-256 of each file of the draw; None if ``cfg`` draws no ticket."""
    if not cfg.mask_from:
        return None
    named = {file.name: getattr(cfg, file.name) for file in _FILES if getattr(cfg, file.name)}
    paths = {name: str(model_file(path)) for name, path in named.items()}
    return {name: {"path": path, "sha256": sha256_of(path)} for name, path in paths.items()}


def refuse_other_run(
    cfg: Any, training: Any, restored: Restored, adapter: TaskAdapter, dictionaries: Dictionaries
) -> None:
    """Refuse to resume from a checkpoint that does not match ``cfg``.

    Args:
        cfg: the task's section of ``training``.
        training: fairseq's complete configuration.

    Raises:
        LotteryError: the checkpoint lacks state that the run needs; or task, dictionaries, seeds,
            ticket, criterion or optimizer differ; or its schedule is unfinished and ``cfg``
            has none.
    """
    _refuse_incomplete(restored)
    state, path = restored.state, restored.path
    before = stored_adapter(state, path) if state else adapter
    if before.name != adapter.name and restored.is_same_run:
        raise LotteryError(
            f"{path} is from a run of the task {before.name}, not {adapter.name}; choose another"
            " --save-dir"
        )
    if state.get("dictionaries") and set(before.vocabularies) == set(adapter.vocabularies):
        stored = Dictionaries.from_tensors(state["dictionaries"], adapter.vocabularies)
        stored.refuse_other(dictionaries, str(path))
    _refuse_other_seeds(cfg, restored)
    if cfg.ticket or cfg.mask_from:
        _refuse_other_ticket(cfg, restored)
    if training.ema.store_ema and not restored.has_ema:
        raise LotteryError(
            f"{path} has no EMA, and fairseq starts none in the middle of a run; leave out"
            " --store-ema"
        )
    if cfg.prune_to is None:
        _refuse_unfinished(restored)
    if restored.keeps_counter:
        _refuse_other_trainer(training, restored)


def _refuse_other_seeds(cfg: Any, restored: Restored) -> None:
    """Refuse to change the order of the examples, or the head, in the middle of a run."""
    for name, changed in _SEEDS.items():
        flag = f"--{name.replace('_', '-')}"
        then, now = restored.state.get(name), getattr(cfg, name)
        if not restored.is_same_run or then == now:
            continue
        if then is None:
            raise LotteryError(
                f"{restored.path} is from a run without {flag}, so {flag} {now} would change"
                f" {changed}; choose another --save-dir"
            )
        if now is None:
            raise LotteryError(f"{restored.path} is from a run with {flag} {then}; give it again")
        refuse_other_value(restored, flag, then, now)


def _refuse_incomplete(restored: Restored) -> None:
    """Refuse a checkpoint that lacks state which the run needs."""
    state = restored.state
    ticket = state.get("ticket") or {}
    missing = {
        "number of updates": not restored.is_counted,
        "mask": bool(ticket or state.get("growth")) and not state.get("mask"),
        "ticket's signature": bool(ticket) and not isinstance(ticket.get("signature"), str),
    }
    for name, is_missing in missing.items():
        if is_missing:
            raise LotteryError(
                f"{restored.path} lacks its {name}; resume from another checkpoint of the run"
            )


def _refuse_other_ticket(cfg: Any, restored: Restored) -> None:
    """Refuse a ticket, or options of a draw, that differ from those of the checkpoint."""
    state, path = restored.state, restored.path
    if not restored.is_same_run or not state.get("ticket"):
        raise LotteryError(
            f"{path} would replace the weights of {cfg.ticket or cfg.mask_from}; choose another"
            " --save-dir, or leave out --restore-file, --continue-once and --finetune-from-model"
        )
    if cfg.ticket and Path(cfg.ticket).is_file():
        if state.get("ticket_digest") != ticket_digest(cfg.ticket):
            raise LotteryError(
                f"{path} is from a run with another ticket than {cfg.ticket}; choose another"
                " --save-dir"
            )
    for option, then, now in _differences(cfg, restored) if cfg.mask_from else ():
        refuse_other_value(restored, option.flag_in(TRAINING), then, now)


def refuse_other_value(restored: Restored, flag: str, then: Any, now: Any) -> NoReturn:
    """Refuse a command that resumes with another value of a flag."""
    raise LotteryError(
        f"{restored.path} is from a run with {flag} {then}, not {now}; choose another --save-dir"
    )


def _refuse_unfinished(restored: Restored) -> None:
    """Refuse to resume a run in the middle of its schedule without flags of pruning."""
    stored = restored.state.get("growth") if restored.is_same_run else None
    if stored and read_pruner(stored).is_active(restored.trained):
        raise LotteryError(
            f"{restored.path} is from a run that was pruning to {stored['final']:g} until update"
            f" {stored['end']}; give its --prune flags again"
        )


def _differences(cfg: Any, restored: Restored) -> Iterator[tuple[Option, Any, Any]]:
    """Yield option, stored value and new value where the options of a draw differ.

    A file may have moved if its bytes are the same. Under the same path it may have changed, since
    a resumed run does not read it again.
    """
    then, now = restored.state.get("choices") or {}, _choices(cfg) or {}
    for choice in _CHOICES:
        key = choice.key(TRAINING)
        if key in then and then[key] != now[key]:
            yield choice, then[key], now[key]
    for control in _CONTROLS:
        was_set, is_set = (bool(choices.get(control.key(TRAINING))) for choices in (then, now))
        if was_set != is_set:
            yield control, was_set, is_set
    if "files" not in restored.state:
        return
    stored = restored.state["files"]
    if stored is None:
        raise LotteryError(
            f"{restored.path} is from a run with --ticket, but --mask-from draws a ticket; choose"
            " another --save-dir"
        )
    for option in _FILES:
        path, file = getattr(cfg, option.name), stored.get(option.name) or {}
        if path == file.get("path"):
            if path and is_first() and _sha256(path) not in (None, file["sha256"]):
                logger.warning("%s has changed; the run resumes with the ticket it drew", path)
        elif not path or _sha256(path) != file.get("sha256"):
            yield option, file.get("path"), path


def _refuse_other_trainer(training: Any, restored: Restored) -> None:
    """Refuse a checkpoint of another optimizer or criterion.

    fairseq compares classes. In half precision all optimizers have the same wrapper class, and
    loading another optimizer's state fails. Masked and plain optimizers have the same state.
    """
    requested = training.criterion._name
    if has_gates(restored.criterion) and not requested.endswith("_gates"):
        raise LotteryError(
            f"{restored.path} is from a run with learned gates, but --criterion {requested} has no"
            " gates; choose another --save-dir"
        )
    criterion, optimizer = trainer_classes(training)
    now = training.optimizer._name
    then = str(restored.optimizer or now)
    saved = [("criterion", restored.classes[0] or criterion, criterion)]
    if then.replace("masked_", "") != now.replace("masked_", ""):
        saved.append(("optimizer", then, now))
    else:
        saved.append(("optimizer", restored.classes[1] or optimizer, optimizer))
    for role, name, expected in saved:
        if name != expected:
            raise LotteryError(
                f"{restored.path} was saved with the {role} {str(name)[:50]}, not {expected};"
                " resume with the flags of its training, or give --reset-optimizer to start again"
                " at update 0"
            )


def _sha256(path: str) -> Optional[str]:
    """Return the SHA-256 of a file; None if it is missing or unreadable."""
    try:
        return sha256_of(path) if is_plain(path) else None
    except OSError:
        return None
