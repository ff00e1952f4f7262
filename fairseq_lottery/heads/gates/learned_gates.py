"""Gates that a training has learned, out of the criterion's state in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.run_state import GATES, has_gates
from fairseq_lottery.heads.components.anatomy import Anatomy

#: what the state holds beside the parameters
_BESIDE = ("steps", "_extra_state")


@dataclass(frozen=True)
class Learned:
    """What a checkpoint holds of gates.

    Attributes:
        theta: kind -> parameter of each gate, in the anatomy's order.
        targets: kind -> how many shall stay open; None in older checkpoints, as is ``anneal``.
        anneal: training steps until the targets count in full.
    """

    theta: Mapping[str, Tensor]
    targets: Optional[Mapping[str, int]]
    anneal: Optional[int]


def learned_in(state: Any, anatomy: Anatomy) -> Optional[Learned]:
    """Return the gates in a criterion's state, which may be anything; None where it has none.

    Raises:
        LotteryError: what is wrong, without the file's name.
    """
    if state is not None and not isinstance(state, Mapping):
        raise LotteryError(f"its criterion is a {type(state).__name__}")
    if state is None or not has_gates(state):
        return None
    sizes = {kind: sum(modules.values()) for kind, modules in anatomy.sizes.items()}
    kinds = [kind for kind in sizes if f"{GATES}theta_{kind}" in state]
    known = {f"{GATES}{name}" for name in (*(f"theta_{k}" for k in kinds), *_BESIDE)}
    if not kinds or set(state) != known:
        odd = [name for name in state if name not in known] or sorted(known - set(state)) or ["any"]
        raise LotteryError(f"its gates have lost, or have too much, {str(odd[0])[:60]!r}")
    theta = {kind: state[f"{GATES}theta_{kind}"] for kind in kinds}
    for kind, values in theta.items():
        if not _is_plain(values) or tuple(values.shape) != (sizes[kind],):
            raise LotteryError(
                f"its gates are of other {kind} than its model, which has {sizes[kind]}"
            )
        if not values.is_floating_point() or not bool(torch.isfinite(values).all()):
            raise LotteryError(f"its gates of {kind} are no finite real numbers")
    steps = state[f"{GATES}steps"]
    if not _is_plain(steps) or steps.dtype != torch.long or steps.dim() or int(steps) < 0:
        raise LotteryError("its gates do not say how many steps they have learned")
    extra = state[f"{GATES}_extra_state"]
    given: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    weight: Any = given.get("weight")
    targets: Any = given.get("targets")
    anneal: Any = given.get("anneal")
    if not _is_of(kinds, weight, lambda kind, w: type(w) is float and math.isfinite(w)):
        raise LotteryError("its gates do not say how much their penalty weighs")
    if targets is None and anneal is None:
        return Learned(theta, None, None)
    fit = _is_of(kinds, targets, lambda kind, n: type(n) is int and 0 < n <= sizes[kind])
    if not fit or type(anneal) is not int or anneal <= 0:
        raise LotteryError("its gates do not say how many parts shall stay open, or by when")
    return Learned(theta, dict(targets), anneal)


def _is_plain(tensor: Any) -> bool:
    known = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    return known and tensor.device.type == "cpu"


def _is_of(kinds: list[str], found: Any, fits: Callable[[str, Any], bool]) -> bool:
    """Return whether it maps each kind to a value that fits."""
    known = isinstance(found, Mapping) and set(found) == set(kinds)
    return known and all(fits(kind, value) for kind, value in found.items())
