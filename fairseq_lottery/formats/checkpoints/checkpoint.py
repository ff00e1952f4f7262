"""Read an untrusted fairseq checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import is_plain
from fairseq_lottery.formats.checkpoints.checkpoint_entries import refuse_malformed_state
from fairseq_lottery.formats.checkpoints.legacy_layouts import upgraded
from fairseq_lottery.formats.checkpoints.safe_load import safe_load


def read_checkpoint(path: Union[str, Path]) -> dict[str, Any]:
    """Load and validate a fairseq checkpoint.

    Raises:
        LotteryError: the file is missing, malformed, or not a checkpoint of fairseq.
    """
    if not is_plain(path):
        if Path(path).is_dir():
            raise LotteryError(f"{path} is a folder; name a checkpoint in it")
        raise LotteryError(f"there is no file {path}")
    try:
        _refuse_packed(path)
        state = safe_load(path)
    except LotteryError:
        raise
    except Exception as error:  # noqa: BLE001 - a malformed file may raise any error
        raise LotteryError(
            f"{path} is not a fairseq checkpoint that can be loaded safely ({_reason(error)})"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise LotteryError(f"{path} is not a fairseq checkpoint: it has no model")
    try:
        refuse_malformed_state(state, Path(path).stat().st_size)
    except LotteryError as error:
        raise LotteryError(f"{path} is not a fairseq checkpoint: {error}") from None
    try:
        return upgraded(state)
    except LotteryError as error:
        raise LotteryError(f"{path} has the layout of an old fairseq: {error}") from error


def _refuse_packed(path: Union[str, Path]) -> None:
    """Refuse a released archive as it was downloaded, which is a compressed tar archive."""
    with open(path, "rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    if is_packed:
        raise LotteryError(
            f"{path} is a compressed archive; unpack it with tar -xzf and give the folder in it"
        )


def refuse_not_finite(tensors: Mapping[str, Tensor], path: Union[str, Path]) -> None:
    """Refuse weights that are NaN or infinite."""
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise LotteryError(f"{path}: {name} has entries that are NaN or infinite")


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all entries are finite; extremes take a fiftieth of the time of a copy."""
    extremes = tensor
    if tensor.dtype == torch.float32 and tensor.numel():
        extremes = torch.stack(torch.aminmax(tensor))  # NaN if an entry is NaN
    return bool(torch.isfinite(extremes).all())


def _reason(error: Exception) -> str:
    """Return why a load failed, without torch's advice to disable the safe loader."""
    text = str(error)
    unsafe = re.search(r"GLOBAL ([\w.]+)|(\S+) is not allowed in a checkpoint", text)
    if unsafe:
        return f"it requires {unsafe.group(1) or unsafe.group(2)}, which is not plain data"
    if isinstance(error, PermissionError):
        return str(error.strerror)
    return "it is truncated, malformed or another kind of file"
