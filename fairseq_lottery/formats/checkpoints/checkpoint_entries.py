"""Entries of a checkpoint: validation of untrusted ones, and those that this plugin stores."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.files.untrusted_json import refuse_nested
from fairseq_lottery.formats.checkpoints.run_state import (
    OPTIMIZER,
    RUN,
    refuse_other_optimizer,
    refuse_other_run,
)
from fairseq_lottery.formats.checkpoints.settings import is_omegaconf, settings_of
from fairseq_lottery.formats.entry_checks import count, entries, list_of, one_of, refuse, tensors

#: maximum number of settings; a training has a few hundred
_MOST_SETTINGS = 1_000_000


def _progress(value: Any, name: str, size: int) -> None:
    """Refuse an epoch or a training time that is not a number."""
    entries({"train_iterator": entries({"epoch": count})}, names=object)(value, name, size)
    seconds = value.get("previous_training_time", 0)
    if isinstance(seconds, Tensor) and seconds.device.type == "cpu" and seconds.dim() == 0:
        seconds = seconds.item()  # fairseq stores the mean of several processes as a tensor
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        refuse(seconds, "training time")


_SECTION = one_of(Namespace, Mapping)
_SECTIONS = entries(
    dict.fromkeys(("common", "task", "model", "optimizer", "criterion"), _SECTION), names=object
)
#: entries that are read from a checkpoint; fairseq stores others too
_CHECKPOINT = entries(
    {
        "model": tensors,
        "task_state": entries({"lottery": RUN}, names=object),
        "last_optimizer_state": entries({"lottery": OPTIMIZER}, names=object),
        "optimizer_history": list_of(entries({"num_updates": count}, names=object)),
        "extra_state": _progress,
        "criterion": one_of(Mapping),
        "cfg": one_of(Mapping),
        "args": _SECTION,
    },
    names=object,
)


def refuse_malformed_state(state: dict[str, Any], size: int) -> None:
    """Refuse a checkpoint with malformed entries; sections of omegaconf become dictionaries.

    Args:
        size: bytes of the file with the tensors.

    Raises:
        LotteryError: an entry is malformed; the message does not contain the path.
    """
    _CHECKPOINT(state, "", size)
    if state.get("cfg"):
        state["cfg"] = {
            name: settings_of(section) if is_omegaconf(section) else section
            for name, section in settings_of(state["cfg"]).items()
        }
        _SECTIONS(state["cfg"], "cfg", size)
    refuse_nested([state.get("cfg"), state.get("args")], "its configuration", _MOST_SETTINGS)
    refuse_other_run(stored_entries(state), state["model"])
    refuse_other_optimizer(state.get("last_optimizer_state") or {}, state["model"], size)


def stored_entries(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries of this plugin in the task state of a checkpoint."""
    return (state.get("task_state") or {}).get("lottery") or {}


def stored_update(state: Mapping[str, Any]) -> Optional[int]:
    """Return the update of a checkpoint, or None."""
    return (state.get("optimizer_history") or [{}])[-1].get("num_updates")
