"""What a run keeps of itself in its checkpoints, looked through before anything goes on from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import refuse_other_than_json
from fairseq_lottery.formats.checkpoints.plain_tensors import is_int, mapping, refuse_other_tensors
from fairseq_lottery.formats.ticket_record import refuse_malformed
from fairseq_lottery.masks import read_pruner

#: start of the names in a criterion's state that are those of learned gates
GATES = "gates."


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
    if not isinstance(lottery.get("task"), (str, type(None))):
        raise LotteryError("its task is no text")
    for name in ("choices", "files", "ranking"):
        refuse_other_than_json(mapping(lottery, name), f"its {name}")
    for file in mapping(lottery, "files").values():
        if not isinstance(file, Mapping) or not isinstance(file.get("sha256"), str):
            raise LotteryError("its files have no sha256")
    if lottery.get("growth") is not None:
        refuse_other_than_json(lottery["growth"], "its growth")
        read_pruner(lottery["growth"])
    patience = mapping(lottery, "patience")
    if patience and not (type(patience.get("best")) is float and is_int(patience.get("num_runs"))):
        raise LotteryError("its patience is no count")
    _refuse_other_signs(mapping(lottery, "start_signs"), mapping(mask, "bits"), model, size)
    _refuse_other_start(mapping(lottery, "start_weights"), mapping(mask, "bits"), model, size)


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


def _refuse_other_start(
    start: Mapping[str, Any], bits: Mapping[str, Any], model: Mapping[str, Tensor], size: int
) -> None:
    """Refuse start weights that are not a finite fp32 tensor for each pruned matrix."""
    refuse_other_tensors(start, "start_weights", size)
    if start and set(start) != set(bits):
        raise LotteryError("its start_weights are not those of the matrices of its mask")
    for name, weight in start.items():
        is_of_model = name not in model or weight.shape == model[name].shape
        if weight.dtype != torch.float32 or not is_of_model:
            raise LotteryError(f"its start_weights of {name} have another type or shape")
        if not bool(torch.isfinite(weight).all()):
            raise LotteryError(f"its start_weights of {name} are not all finite")


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


def has_gates(state: Any) -> bool:
    """Whether a criterion's state is that of gates, sound or not."""
    names = state if isinstance(state, Mapping) else ()
    return any(isinstance(name, str) and name.startswith(GATES) for name in names)
