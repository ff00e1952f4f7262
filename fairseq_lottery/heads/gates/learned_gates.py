"""Learned gates in the state of the criterion in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.run_state import GATES, has_gates
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy

#: entries of the state besides the parameters
_BESIDE = ("steps", "_extra_state")


@dataclass(frozen=True)
class StoredGates:
    """Learned gates in a checkpoint.

    Attributes:
        theta: kind -> parameter of each gate, in the anatomy's order.
        targets: kind -> number of gates that stay open; None in older checkpoints, as is
            ``anneal``.
        anneal: training steps until the targets apply in full.
    """

    theta: Mapping[str, Tensor]
    targets: Optional[Mapping[str, int]]
    anneal: Optional[int]


def read_gates(state: Any, anatomy: Anatomy) -> Optional[StoredGates]:
    """Return the gates in the untrusted state of a criterion; None if it has no gates.

    Raises:
        LotteryError: the gates are malformed or do not match the model; the message does not name
            the file.
    """
    if state is not None and not isinstance(state, Mapping):
        raise LotteryError(f"the criterion is a {type(state).__name__}, expected a mapping")
    if state is None or not has_gates(state):
        return None
    sizes = {kind: anatomy.count(kind) for kind in KINDS}
    kinds = [kind for kind in sizes if f"{GATES}theta_{kind}" in state]
    known = {f"{GATES}{name}" for name in (*(f"theta_{k}" for k in kinds), *_BESIDE)}
    if not kinds or set(state) != known:
        odd = [name for name in state if name not in known] or sorted(known - set(state)) or ["any"]
        raise LotteryError(f"entry {str(odd[0])[:60]!r} of the gates is missing or unexpected")
    theta = {kind: state[f"{GATES}theta_{kind}"] for kind in kinds}
    for kind, values in theta.items():
        if not _is_plain(values) or tuple(values.shape) != (sizes[kind],):
            raise LotteryError(
                f"the gates do not match the {kind} of the model, which has {sizes[kind]}"
            )
        if not values.is_floating_point() or not bool(torch.isfinite(values).all()):
            raise LotteryError(f"gates of {kind} are not finite real numbers")
    steps = state[f"{GATES}steps"]
    if not _is_plain(steps) or steps.dtype != torch.long or steps.dim() or int(steps) < 0:
        raise LotteryError("the steps of the gates are not an integer from 0")
    extra = state[f"{GATES}_extra_state"]
    entries: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    weight: Any = entries.get("weight")
    targets: Any = entries.get("targets")
    anneal: Any = entries.get("anneal")
    if not _is_of(kinds, weight, lambda kind, w: type(w) is float and math.isfinite(w)):
        raise LotteryError("the penalty weight of the gates is not a finite number for each kind")
    if targets is None and anneal is None:
        return StoredGates(theta, None, None)
    are_valid = _is_of(kinds, targets, lambda kind, n: type(n) is int and 0 < n <= sizes[kind])
    if not are_valid or type(anneal) is not int or anneal <= 0:
        raise LotteryError("the targets of the gates, or their anneal, are not positive integers")
    return StoredGates(theta, dict(targets), anneal)


def _is_plain(tensor: Any) -> bool:
    known = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    return known and tensor.device.type == "cpu"


def _is_of(kinds: list[str], values: Any, is_valid: Callable[[str, Any], bool]) -> bool:
    """Return whether ``values`` maps each kind to a valid value."""
    known = isinstance(values, Mapping) and set(values) == set(kinds)
    return known and all(is_valid(kind, value) for kind, value in values.items())
