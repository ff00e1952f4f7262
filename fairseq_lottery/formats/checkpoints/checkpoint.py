"""Reading a fairseq checkpoint that anybody may have made: loaded safely, then looked through."""

from __future__ import annotations

import math
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.compat import as_written, safe_load
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats.checkpoints.legacy_layouts import (
    has_old_names,
    is_own_model,
    sections_of,
    upgraded_weights,
)
from fairseq_lottery.formats.checkpoints.plain_tensors import (
    is_count,
    is_int,
    mapping,
    refuse_other_tensors,
)
from fairseq_lottery.formats.checkpoints.run_state import look_through_run, refuse_other_gradients

#: settings of one training, which has a few hundred, and how deep they are nested
_MOST_SETTINGS, _DEEPEST = 1_000_000, 50
#: entries of a checkpoint, and what each is; None where a run has none
_ENTRIES: dict[str, Any] = {
    "task_state": Mapping,
    "last_optimizer_state": Mapping,
    "cfg": Mapping,
    "args": (Namespace, Mapping),
    "optimizer_history": list,
    "extra_state": Mapping,
    "criterion": Mapping,
}


def read_checkpoint(path: Union[str, Path]) -> dict[str, Any]:
    """Load a fairseq checkpoint through the safe loader, and see that it is one.

    Raises:
        LotteryError: missing, damaged, or not what fairseq and this plugin write.
    """
    if not is_plain(path):
        if Path(path).is_dir():
            raise LotteryError(f"{path} is a folder; name a checkpoint in it")
        raise LotteryError(f"there is no file {path}")
    try:
        state = safe_load(path)
    except Exception as error:  # noqa: BLE001 - a damaged file raises whatever it likes
        raise LotteryError(
            f"{path} is no fairseq checkpoint that can be loaded safely ({_reason(error)})"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise LotteryError(f"{path} is no fairseq checkpoint: it has no model")
    try:
        look_through(state, Path(path).stat().st_size)
    except LotteryError as error:
        raise LotteryError(f"{path} is no fairseq checkpoint: {error}") from None
    try:
        return _upgraded(state)
    except LotteryError as error:
        raise LotteryError(f"{path} has the layout of an old fairseq: {error}") from error


def _upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint that an old fairseq wrote in today's layout."""
    is_old = bool(state.get("args") and not state.get("cfg"))
    if is_old:
        state = {**state, "args": None, "cfg": sections_of(settings_of(state["args"]))}
    model = settings_of((state.get("cfg") or {}).get("model"))
    if has_old_names(state["model"]) and (is_old or is_own_model(model)):
        state = {**state, "model": upgraded_weights(state["model"])}
    return state


def refuse_not_finite(tensors: Mapping[str, Tensor], path: Union[str, Path]) -> None:
    """Refuse weights that are NaN or infinite."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise LotteryError(f"{path}: {name} has entries that are NaN or infinite")


def settings_of(part: Any) -> dict[str, Any]:
    """Settings of a checkpoint, stored as a Namespace, a mapping or a section of omegaconf's."""
    if isinstance(part, Namespace):
        return vars(part)
    if type(part).__module__.startswith("omegaconf."):
        try:
            part = as_written(part)
        except Exception as error:  # noqa: BLE001 - a section that was put together by hand
            raise LotteryError(
                f"a section of the checkpoint's configuration is malformed ({error})"
            ) from error
    return dict(part or {})


def _reason(error: Exception) -> str:
    """Why a load failed, without torch's advice to switch the safe loader off."""
    text = str(error)
    unsafe = re.search(r"GLOBAL ([\w.]+)|(\S+) is not allowed in a checkpoint", text)
    if unsafe:
        return f"it asks for {unsafe.group(1) or unsafe.group(2)}, which is no plain data"
    if isinstance(error, PermissionError):
        return str(error.strerror)
    return "it is truncated, damaged or of another kind"


def look_through(state: dict[str, Any], size: int) -> None:
    """Refuse entries that are not what everything that reads them takes for granted.

    Args:
        size: of what the tensors were read from, in bytes.

    Raises:
        LotteryError: what it is instead, without the file's name.
    """
    refuse_other_tensors(state["model"], "model", size)
    for name, kind in _ENTRIES.items():
        if not isinstance(state.get(name), (kind, type(None))):
            raise LotteryError(f"its {name} is a {type(state[name]).__name__}")
    for number, entry in enumerate(state.get("optimizer_history") or ()):
        if not isinstance(entry, Mapping) or not is_count(entry.get("num_updates", 0)):
            raise LotteryError(f"entry {number} of its optimizer_history says no update")
    _refuse_other_progress(state.get("extra_state") or {})
    if state.get("cfg"):
        state["cfg"] = _plain_sections(state["cfg"])
    _refuse_rings([state.get("cfg"), state.get("args")])
    look_through_run(_part(state, "task_state"), state["model"], size)
    optimizer = state.get("last_optimizer_state") or {}
    lottery = _part(state, "last_optimizer_state")
    masters = mapping(lottery, "masters")
    refuse_other_tensors(masters, "masters", size)
    for name, master in masters.items():
        weight = state["model"].get(name)
        if weight is not None and weight.shape != master.shape:
            raise LotteryError(f"its master of {name} has the shape {tuple(master.shape)}")
    _refuse_other_names(lottery)
    refuse_other_gradients(lottery, size)
    entries = optimizer.get("state")
    if lottery and not isinstance(entries, (Mapping, type(None))):
        raise LotteryError("the state of its optimizer is none")
    for number, entry in (entries or {}).items() if lottery else ():
        known = type(number) is int and 0 <= number < len(lottery.get("names") or ())
        if not (known and isinstance(entry, Mapping)):
            raise LotteryError("the state of its optimizer is of parameters without a name")
        tensors = {key: value for key, value in entry.items() if isinstance(value, Tensor)}
        refuse_other_tensors(tensors, "optimizer's state", size)


def _refuse_other_progress(extra_state: Mapping[str, Any]) -> None:
    """Refuse an epoch or a training time that is not a number."""
    epoch = mapping(extra_state, "train_iterator").get("epoch", 1)
    if not is_count(epoch):
        raise LotteryError(f"its epoch is {str(epoch)[:50]!r}, expected an integer")
    seconds = extra_state.get("previous_training_time", 0)
    if isinstance(seconds, Tensor) and seconds.device.type == "cpu" and seconds.dim() == 0:
        seconds = seconds.item()  # of several processes fairseq saves their mean as a tensor
    if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
        raise LotteryError(f"its training time is {str(seconds)[:50]!r}, expected seconds")


def _plain_sections(cfg: Any) -> dict[str, Any]:
    """The configuration with what omegaconf holds in it as plain values."""
    cfg = settings_of(cfg)
    found = {}
    for name, part in cfg.items():
        is_omegaconf = type(part).__module__.startswith("omegaconf.")
        found[name] = settings_of(part) if is_omegaconf else part
    for name in ("common", "task", "model", "optimizer", "criterion"):
        if not isinstance(found.get(name), (Namespace, Mapping, type(None))):
            raise LotteryError(f"its cfg holds a {type(found[name]).__name__} as {name!r}")
    return found


def _refuse_rings(value: Any) -> None:
    """Refuse settings that hold themselves, or are nested deeper than any training's."""
    count, level = 0, [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, (Namespace, Mapping)):
                inner += (vars(one) if isinstance(one, Namespace) else one).values()
            elif isinstance(one, (list, tuple)):
                inner += one
            if count + len(inner) > _MOST_SETTINGS:
                raise LotteryError(f"its settings are more than {_MOST_SETTINGS}")
        count += len(inner)
        level = inner
    if level:
        raise LotteryError("its settings are nested too deeply, or hold themselves")


def _refuse_other_names(lottery: Mapping[str, Any]) -> None:
    """Names and shapes of the optimizer's parameters."""
    names, shapes = lottery.get("names") or [], lottery.get("shapes") or []
    lists = isinstance(names, list) and isinstance(shapes, list) and len(names) == len(shapes)
    if not lists or not all(isinstance(name, str) for name in names):
        raise LotteryError("the names of its optimizer's parameters are none")
    for shape in shapes:
        if not isinstance(shape, (list, tuple)) or not all(map(is_int, shape)):
            raise LotteryError("the shapes of its optimizer's parameters are none")


def _part(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return mapping(state.get(name) or {}, "lottery")
