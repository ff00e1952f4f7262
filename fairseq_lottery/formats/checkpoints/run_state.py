"""What a run keeps of itself in its checkpoints, checked before anything resumes from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import refuse_other_than_json
from fairseq_lottery.formats.entry_checks import (
    count,
    entries,
    every,
    json_entries,
    list_of,
    one_of,
    tensors,
)
from fairseq_lottery.formats.ticket_record import refuse_malformed
from fairseq_lottery.masks import read_pruner

#: start of the names in a criterion's state that are those of learned gates
GATES = "gates."


def _mask(value: Any, name: str, size: int) -> None:
    entries({"bits": tensors})(value, name, size)
    if not value:
        raise LotteryError("its mask is empty")
    refuse_other_than_json({k: v for k, v in value.items() if k != "bits"}, f"its {name}")


def _ticket(value: Any, name: str, size: int) -> None:
    json_entries(value, name, size)
    refuse_malformed(value, "the ticket's record in it")


def _files(value: Any, name: str, size: int) -> None:
    json_entries(value, name, size)
    every(entries({"sha256": one_of(str)}, needed=("sha256",)))(value, name, size)


def _growth(value: Any, name: str, size: int) -> None:
    refuse_other_than_json(value, f"its {name}")
    read_pruner(value)


def _tensor_list(value: Any, name: str, size: int) -> None:
    list_of(one_of(Tensor))(value, name, size)
    tensors(dict(zip(map(str, range(len(value))), value)), name, size)


#: entries of a task's state
RUN = entries(
    {
        "mask": _mask,
        "dictionaries": tensors,
        "ticket": _ticket,
        "ticket_digest": one_of(str),
        "task": one_of(str),
        "choices": json_entries,
        "files": _files,
        "ranking": json_entries,
        "growth": _growth,
        "patience": entries({"best": one_of(float), "num_runs": count}, ("best", "num_runs")),
        "start_signs": tensors,
        "start_weights": tensors,
    }
)
#: entries of an optimizer's state: names and shapes of its parameters, in order
OPTIMIZER = entries(
    {
        "names": list_of(one_of(str)),
        "shapes": list_of(list_of(count)),
        "masters": tensors,
        "gradients": _tensor_list,
    }
)


def refuse_other_run(run: Mapping[str, Any], model: Mapping[str, Tensor]) -> None:
    """Refuse start signs and start weights that are not those of the masked matrices.

    Args:
        run: entries of ours in a task's state, which meet ``RUN``.
        model: the state dict beside them.
    """
    matrices = set((run.get("mask") or {}).get("bits") or {})
    for part in ("start_signs", "start_weights"):
        if run.get(part) and set(run[part]) != matrices:
            raise LotteryError(f"its {part} are not those of the matrices of its mask")
    for name, signs in (run.get("start_signs") or {}).items():
        weights = model[name].numel() if name in model else 8 * signs.numel()
        if signs.dtype != torch.uint8 or signs.shape != (-(-weights // 8),):
            raise LotteryError(f"its start_signs of {name} are not a bit a weight")
    for name, weight in (run.get("start_weights") or {}).items():
        is_of_model = name not in model or weight.shape == model[name].shape
        if weight.dtype != torch.float32 or not is_of_model:
            raise LotteryError(f"its start_weights of {name} have another type or shape")
        if not bool(torch.isfinite(weight).all()):
            raise LotteryError(f"its start_weights of {name} are not all finite")


def refuse_other_optimizer(
    optimizer: Mapping[str, Any], model: Mapping[str, Tensor], size: int
) -> None:
    """Refuse the state of a masked optimizer that is not of its own parameters.

    Args:
        optimizer: the state, whose entries of ours meet ``OPTIMIZER``.
        model: the state dict beside it.
        size: of the file in bytes.
    """
    ours = optimizer.get("lottery")
    if not ours:
        return
    names, shapes = ours.get("names") or [], [tuple(shape) for shape in ours.get("shapes") or []]
    if len(names) != len(shapes):
        raise LotteryError(f"its optimizer has {len(names)} names and {len(shapes)} shapes")
    for name, master in (ours.get("masters") or {}).items():
        if name in model and model[name].shape != master.shape:
            raise LotteryError(f"its master of {name} has the shape {tuple(master.shape)}")
    gradients = ours.get("gradients")
    if gradients is not None:  # one for each parameter, or a flat one for all
        found = [tuple(gradient.shape) for gradient in gradients]
        flat = [(sum(math.prod(shape) for shape in shapes),)]
        if found not in (shapes, flat) or not all(one.is_floating_point() for one in gradients):
            raise LotteryError("its summed gradients are not those of its parameters")
    moments = optimizer.get("state")
    entries({}, names=int)({} if moments is None else moments, "optimizer's state", size)
    for number, entry in (moments or {}).items():
        if type(number) is not int or not 0 <= number < len(names):
            raise LotteryError(f"its optimizer has no parameter {number}")
        entries({}, names=object)(entry, f"optimizer's state[{number}]", size)
        plain = {key: value for key, value in entry.items() if isinstance(value, Tensor)}
        tensors(plain, "optimizer's state", size)


def has_gates(state: Any) -> bool:
    """Whether a criterion's state is that of gates, sound or not."""
    names = state if isinstance(state, Mapping) else ()
    return any(isinstance(name, str) and name.startswith(GATES) for name in names)
