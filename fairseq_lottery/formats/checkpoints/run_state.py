"""Validate the state of a run in its checkpoints before a run resumes from it."""

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
    refuse,
    tensors,
)
from fairseq_lottery.formats.mask_state import mask_from_state
from fairseq_lottery.formats.pair_masks import refuse_malformed_pair_masks
from fairseq_lottery.formats.ticket_record import refuse_malformed
from fairseq_lottery.masks import read_pruner, shapes_of

#: prefix of learned gates in a criterion's state
GATES = "gates."


def _mask(value: Any, name: str, size: int) -> None:
    entries({"bits": tensors})(value, name, size)
    if not value:
        raise LotteryError("its mask is empty")
    refuse_other_than_json({k: v for k, v in value.items() if k != "bits"}, f"its {name}")


def _ticket(value: Any, name: str, size: int) -> None:
    json_entries(value, name, size)
    refuse_malformed(value, "its ticket record")


def _files(value: Any, name: str, size: int) -> None:
    json_entries(value, name, size)
    every(entries({"sha256": one_of(str)}, needed=("sha256",)))(value, name, size)


def _pruner(value: Any, name: str, size: int) -> None:
    refuse_other_than_json(value, f"its {name}")
    read_pruner(value)


def _tensor_list(value: Any, name: str, size: int) -> None:
    list_of(one_of(Tensor))(value, name, size)
    tensors(dict(zip(map(str, range(len(value))), value)), name, size)


def _operations(value: Any, name: str, size: int) -> None:
    if type(value) is not float or not 0 <= value < math.inf:
        refuse(value, name)


#: entries of this plugin in a task's state
RUN = entries(
    {
        "mask": _mask,
        "dictionaries": tensors,
        "classes": list_of(one_of(str)),
        "ticket": _ticket,
        "ticket_digest": one_of(str),
        "task": one_of(str),
        "choices": json_entries,
        "data_seed": count,
        "head_seed": count,
        "files": _files,
        "ranking": json_entries,
        "growth": _pruner,
        "patience": entries({"best": one_of(float), "num_runs": count}, ("best", "num_runs")),
        "flops": entries({"dense": _operations, "sparse": _operations}, ("dense", "sparse")),
        "start_signs": tensors,
        "start_weights": tensors,
        "pruned_values": tensors,
        "learned": entries(
            {"updates": count, "tensors": every(tensors)}, needed=("updates", "tensors")
        ),
        "explored": _mask,
        "pair_masks": refuse_malformed_pair_masks,
    }
)
#: entries of this plugin in an optimizer's state; names and shapes are in order
OPTIMIZER = entries(
    {
        "names": list_of(one_of(str)),
        "shapes": list_of(list_of(count)),
        "masters": tensors,
        "gradients": _tensor_list,
    }
)


def refuse_other_run(run: Mapping[str, Any], model: Mapping[str, Tensor]) -> None:
    """Refuse tensors of a run that do not fit its mask and the model.

    Args:
        run: entries of this plugin in a task's state, which satisfy ``RUN``.
        model: state dict of the same checkpoint.
    """
    matrices = set((run.get("mask") or {}).get("bits") or {})
    for part in ("start_signs", "start_weights", "pruned_values"):
        if run.get(part) and set(run[part]) != matrices:
            raise LotteryError(f"its {part} have other matrices than its mask")
    explored = run.get("explored") or {}
    if explored and set(explored.get("bits") or {}) != matrices:
        raise LotteryError("its explored weights have other matrices than its mask")
    pairs = run.get("pair_masks") or {}
    if pairs and set(pairs.get("shapes") or ()) != matrices:
        raise LotteryError("its masks of pairs have other matrices than its mask")
    for name, signs in (run.get("start_signs") or {}).items():
        weights = model[name].numel() if name in model else 8 * signs.numel()
        if signs.dtype != torch.uint8 or signs.shape != (-(-weights // 8),):
            raise LotteryError(f"its start_signs of {name} do not have one bit per weight")
    for name, weight in (run.get("start_weights") or {}).items():
        has_shape = name not in model or weight.shape == model[name].shape
        if weight.dtype != torch.float32 or not has_shape:
            raise LotteryError(
                f"its start_weights of {name} have another type or shape than the model"
            )
        if not bool(torch.isfinite(weight).all()):
            raise LotteryError(f"its start_weights of {name} are not all finite")
    if run.get("pruned_values") or run.get("learned"):
        mask = mask_from_state(run["mask"]) if run.get("mask") else {}
        _refuse_other_values(run.get("pruned_values") or {}, mask)
        _refuse_other_scores((run.get("learned") or {}).get("tensors") or {}, mask)


def _refuse_other_values(values: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> None:
    """Refuse values of pruned weights that are not one finite fp32 number for each of them."""
    for name, pruned in values.items():
        expected = int(torch.count_nonzero(~mask[name]))
        if pruned.dtype != torch.float32 or pruned.shape != (expected,):
            raise LotteryError(
                f"its pruned_values of {name} are not {expected} fp32 numbers, one for each pruned"
                " weight"
            )
        if not bool(torch.isfinite(pruned).all()):
            raise LotteryError(f"its pruned_values of {name} are not all finite")


def _refuse_other_scores(
    learned: Mapping[str, Mapping[str, Tensor]], mask: Mapping[str, Tensor]
) -> None:
    """Refuse learned tensors that are not finite fp32 tensors of all matrices of the mask."""
    for kind, by_name in learned.items():
        if shapes_of(by_name) != shapes_of(mask):
            raise LotteryError(f"its learned {kind} have other matrices or shapes than its mask")
        for name, tensor in by_name.items():
            if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
                raise LotteryError(f"its learned {kind} of {name} are not finite fp32 numbers")


def refuse_other_optimizer(
    optimizer: Mapping[str, Any], model: Mapping[str, Tensor], size: int
) -> None:
    """Refuse the state of a masked optimizer that does not fit its parameters.

    Args:
        optimizer: the state; its entries of this plugin satisfy ``OPTIMIZER``.
        model: state dict of the same checkpoint.
        size: bytes of the file.
    """
    lottery = optimizer.get("lottery")
    if not lottery:
        return
    names = lottery.get("names") or []
    shapes = [tuple(shape) for shape in lottery.get("shapes") or []]
    if len(names) != len(shapes):
        raise LotteryError(f"its optimizer has {len(names)} names and {len(shapes)} shapes")
    for name, master in (lottery.get("masters") or {}).items():
        if name in model and model[name].shape != master.shape:
            raise LotteryError(
                f"its master of {name} has shape {tuple(master.shape)}, expected"
                f" {tuple(model[name].shape)}"
            )
    gradients = lottery.get("gradients")
    if gradients is not None:  # one per parameter, or one flat gradient
        gradient_shapes = [tuple(gradient.shape) for gradient in gradients]
        flat = [(sum(math.prod(shape) for shape in shapes),)]
        is_float = all(gradient.is_floating_point() for gradient in gradients)
        if gradient_shapes not in (shapes, flat) or not is_float:
            raise LotteryError("its summed gradients do not fit its parameters")
    moments = optimizer.get("state")
    entries({}, names=int)({} if moments is None else moments, "optimizer's state", size)
    for number, entry in (moments or {}).items():
        if type(number) is not int or not 0 <= number < len(names):
            raise LotteryError(
                f"its optimizer has a parameter {number}, expected 0 to {len(names) - 1}"
            )
        entries({}, names=object)(entry, f"optimizer's state[{number}]", size)
        plain = {key: value for key, value in entry.items() if isinstance(value, Tensor)}
        tensors(plain, "optimizer's state", size)


def has_gates(state: Any) -> bool:
    """Return whether a criterion's state is that of gates, valid or not."""
    names = state if isinstance(state, Mapping) else ()
    return any(isinstance(name, str) and name.startswith(GATES) for name in names)
