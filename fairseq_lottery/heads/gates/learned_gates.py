"""Gates that a training has learned, out of the criterion's state in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

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
    """Look through the criterion's state in a checkpoint.

    Args:
        state: anything that may stand there.
        anatomy: of the model beside it.

    Returns:
        None where it has no gates.

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
    for kind in kinds:
        _refuse_theta(kind, theta[kind], sizes[kind])
    steps = state[f"{GATES}steps"]
    if not _plain(steps) or steps.dtype != torch.long or steps.dim() or int(steps) < 0:
        raise LotteryError("its gates do not say how many steps they have learned")
    return Learned(theta, *_beside(state[f"{GATES}_extra_state"], kinds, sizes))


def _plain(tensor: Any) -> bool:
    known = isinstance(tensor, Tensor) and tensor.layout == torch.strided
    return known and tensor.device.type == "cpu"


def _refuse_theta(kind: str, theta: Any, size: int) -> None:
    if not _plain(theta) or tuple(theta.shape) != (size,):
        raise LotteryError(f"its gates are of other {kind} than its model, which has {size}")
    if not theta.is_floating_point() or not bool(torch.isfinite(theta).all()):
        raise LotteryError(f"its gates of {kind} are no finite real numbers")


def _beside(
    extra: Any, kinds: list[str], sizes: Mapping[str, int]
) -> tuple[Optional[dict[str, int]], Optional[int]]:
    """The targets and the annealing; the penalty's weights, looked at too, are the module's."""
    given: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    weight: Any = given.get("weight")
    targets: Any = given.get("targets")
    anneal: Any = given.get("anneal")
    if not _of_kinds(weight, kinds) or not all(map(_is_finite, weight.values())):
        raise LotteryError("its gates do not say how much their penalty weighs")
    if targets is None and anneal is None:
        return None, None
    sound = _of_kinds(targets, kinds) and type(anneal) is int and anneal > 0
    if not sound or not all(type(n) is int and 0 < n <= sizes[k] for k, n in targets.items()):
        raise LotteryError("its gates do not say how many parts shall stay open, or by when")
    return dict(targets), anneal


def _of_kinds(found: Any, kinds: list[str]) -> bool:
    return isinstance(found, Mapping) and set(found) == set(kinds)


def _is_finite(number: Any) -> bool:
    return type(number) is float and math.isfinite(number)
