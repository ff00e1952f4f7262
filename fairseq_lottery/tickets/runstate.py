"""What a run keeps of itself in its checkpoints, looked through before anything goes on from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Gradual
from fairseq_lottery.strict import refuse_other_than_json
from fairseq_lottery.tickets.plain import is_int, mapping, refuse_other_tensors
from fairseq_lottery.tickets.record import refuse_malformed


def look_through_run(lottery: Mapping[str, Any], model: Mapping[str, Tensor], size: int) -> None:
    """Refuse entries of ours in a task's state that are not what the plugin writes.

    Args:
        lottery: those entries.
        model: the state dict beside them.
        size: of the file in bytes.

    Raises:
        LotteryError: what it is instead, without the file's name.
    """
    mask = mapping(lottery, "mask")
    if not mask and lottery.get("mask") is not None:
        raise LotteryError("its mask is empty")
    refuse_other_tensors(mapping(mask, "bits"), "mask", size)
    refuse_other_than_json({k: v for k, v in mask.items() if k != "bits"}, "its mask")
    refuse_other_tensors(mapping(lottery, "dictionaries"), "dictionaries", size)
    ticket = mapping(lottery, "ticket")
    refuse_other_than_json(ticket, "the ticket's record in it")
    refuse_malformed(ticket, "the ticket's record in it")
    if not isinstance(lottery.get("ticket_digest"), (str, type(None))):
        raise LotteryError("its ticket_digest is no text")
    for name in ("choices", "files", "ranking"):
        refuse_other_than_json(mapping(lottery, name), f"its {name}")
    for file in mapping(lottery, "files").values():
        if not isinstance(file, Mapping) or not isinstance(file.get("sha256"), str):
            raise LotteryError("its files have no sha256")
    _refuse_other_growth(lottery.get("growth"))
    patience = mapping(lottery, "patience")
    if patience and not (type(patience.get("best")) is float and is_int(patience.get("num_runs"))):
        raise LotteryError("its patience is no count")
    _refuse_other_signs(mapping(lottery, "start_signs"), mapping(mask, "bits"), model, size)


def _refuse_other_growth(growth: Any) -> None:
    """A schedule that the mask of the run grows by."""
    if growth is None:
        return
    kinds = {"initial": _is_share, "final": _is_share, "schedule": lambda text: type(text) is str}
    fields = Gradual.__dataclass_fields__
    if not isinstance(growth, Mapping) or set(growth) != set(fields):
        raise LotteryError("its growth is no schedule")
    for name in fields:
        if not kinds.get(name, is_int)(growth[name]):
            raise LotteryError(f"the {name} of its growth is no {name} of a schedule")
    Gradual(**growth)


def _refuse_other_signs(
    signs: Mapping[str, Any], bits: Mapping[str, Any], model: Mapping[str, Tensor], size: int
) -> None:
    """The signs that training started from, a bit for each weight of every pruned matrix."""
    refuse_other_tensors(signs, "start_signs", size)
    if signs and set(signs) != set(bits):
        raise LotteryError("its start_signs are not of the matrices of its mask")
    for name, packed in signs.items():
        weight = model.get(name)
        expected = (weight.numel() + 7) // 8 if weight is not None else packed.numel()
        if packed.dtype != torch.uint8 or packed.shape != (expected,):
            raise LotteryError(f"its start_signs of {name} are not a bit a weight")


def refuse_other_gradients(lottery: Mapping[str, Any], size: int) -> None:
    """Refuse summed gradients that are neither one for each parameter nor a flat one for all.

    Args:
        lottery: our entries in an optimizer's state, with the shapes of its parameters.
        size: of the file in bytes.
    """
    gradients = lottery.get("gradients")
    if gradients is None:
        return
    shapes = [tuple(shape) for shape in lottery.get("shapes") or []]
    if not isinstance(gradients, list):
        raise LotteryError("its summed gradients are no list")
    refuse_other_tensors(dict(zip(map(str, range(len(gradients))), gradients)), "gradients", size)
    found = [tuple(gradient.shape) for gradient in gradients]
    flat = [(sum(math.prod(shape) for shape in shapes),)]
    if found not in (shapes, flat) or not all(one.is_floating_point() for one in gradients):
        raise LotteryError("its summed gradients are not those of its parameters")


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1
