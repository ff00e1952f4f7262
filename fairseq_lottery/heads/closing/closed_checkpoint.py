"""A trained model with parts closed, or weights pruned, and nothing trained since: zero-shot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats.checkpoints.tied_parameters import untie
from fairseq_lottery.formats.compact_model import KIND
from fairseq_lottery.formats.mask_state import mask_to_state
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.heads.closing.closed_draw import load_parts_of
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.pruned_weights import pruned_by, restrict, without_biases
from fairseq_lottery.masks import Mask

#: what says how the mask of a run came about, and how it grows on; a closed model is no such run's
_OF_A_RUN = (
    *("ticket", "ticket_digest", "choices", "files", "ranking", "growth", "patience"),
    "start_weights",
)


def close_checkpoint(
    path: Union[str, Path],
    parts_path: Union[str, Path],
    out: Union[str, Path],
    overwrite: bool = False,
) -> Parts:
    """Write a model with parts closed, as a checkpoint without optimizer state and EMA.

    The weights of closed parts are zero and their biases too, so that it translates as under
    ``Gates``; a mask in the checkpoint is restricted, and is no ticket's any more. All else is as
    it was. Of a compact model it is the plain checkpoint that is written.

    Returns:
        What ``parts_path`` closes.

    Raises:
        LotteryError: no checkpoint or compact model, one that something was cut out of, parts of
            another model, or a part that the mask leaves dense.
    """
    source, state = _whole_model(path, out)
    parts, _ = load_parts_of(source, parts_path)
    keep = pruned_by(parts, source.shapes)
    task_state = dict(state.get("task_state") or {})
    if source.kind != KIND and (task_state.get("lottery") or {}).get("mask") is not None:
        assert source.mask is not None
        for name in keep:
            if name not in source.mask:
                raise LotteryError(
                    f"the mask of {path} leaves {name} dense, and --parts closes some of it;"
                    " close parts of what fairseq-lottery export gives, which has no mask"
                )
        task_state = _under(restrict(source.mask, parts, source.shapes), task_state)
    model = without_biases(_pruned(state["model"], keep), parts)
    _save(out, state, model, task_state, overwrite)
    return parts


def prune_checkpoint(
    path: Union[str, Path],
    mask_path: Union[str, Path],
    out: Union[str, Path],
    overwrite: bool = False,
) -> Mask:
    """Write a model without the weights that a ticket's mask prunes, as ``close_checkpoint`` does.

    What our task keeps in it has the mask; plain fairseq's has no place for one.

    Returns:
        The mask.

    Raises:
        LotteryError: no checkpoint or compact model, one that is pruned or cut already, or a mask
            of another model.
    """
    source, state = _whole_model(path, out)
    mask = read_source(mask_path).mask
    if mask is None or any(source.shapes.get(n) != tuple(keep.shape) for n, keep in mask.items()):
        raise LotteryError(f"{mask_path} has no mask of a model like {path}")
    if source.is_pruned:
        raise LotteryError(f"{path} is pruned already; prune the dense model")
    task_state = dict(state.get("task_state") or {})
    if task_state.get("lottery"):
        task_state = _under(mask, task_state)
    _save(out, state, _pruned(state["model"], mask), task_state, overwrite)
    return mask


def _whole_model(path: Union[str, Path], out: Union[str, Path]) -> tuple[Source, dict[str, Any]]:
    """Read a checkpoint, or a compact file as one, that nothing was cut out of."""
    if Path(out).suffix == ".safetensors":
        raise LotteryError(f"--out {out} will be a checkpoint, whose name ends in .pt")
    source = read_source(path)
    if source.kind not in ("checkpoint", KIND):
        raise LotteryError(
            f"{path} is a {source.kind}, which a training starts from; close parts of it with"
            " fairseq-lottery ticket --mask-from and --parts"
        )
    source.refuse_leaks()
    if source.cut:
        raise LotteryError(
            f"{path} had heads or units cut out; close parts of the whole model, which"
            " fairseq-lottery export --to dense gives"
        )
    return source, dict(source.state)


def _pruned(model: Mapping[str, Any], keep: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a state dict with zeros where ``keep`` is False; a tied tensor stays one tensor."""
    weights, ties = untie(model)
    found = {**model, **weights}
    for name, kept in keep.items():
        found[name] = found[name].masked_fill(~kept, 0)
    return {name: found[ties.get(name, name)] for name in model}


def _under(mask: Mask, task_state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the task keeps, with this mask; dictionaries stay."""
    kept = {n: value for n, value in task_state["lottery"].items() if n not in _OF_A_RUN}
    return {**task_state, "lottery": {**kept, "mask": mask_to_state(mask)}}


def _save(
    out: Union[str, Path],
    state: Mapping[str, Any],
    model: Mapping[str, Any],
    task_state: Mapping[str, Any],
    overwrite: bool,
) -> None:
    kept = ("args", "cfg", "criterion", "optimizer_history")
    closed = {
        **{name: state[name] for name in kept if name in state},
        "model": model,
        "task_state": task_state,
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
        "last_optimizer_state": None,
    }
    with replacing(out, overwrite) as temporary, open(temporary, "wb") as file:
        torch.save(closed, file)
