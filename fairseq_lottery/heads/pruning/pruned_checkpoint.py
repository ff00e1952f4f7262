"""A trained model with components or weights pruned and nothing trained since: zero-shot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files import replacing
from fairseq_lottery.formats.checkpoints.tied_parameters import untie
from fairseq_lottery.formats.compact_model import KIND
from fairseq_lottery.formats.mask_state import mask_to_state
from fairseq_lottery.formats.source import Source, read_source
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import restrict, weight_masks, without_biases
from fairseq_lottery.heads.pruning.draw_pruning import load_choice_for
from fairseq_lottery.masks import Mask

#: entries of a run, which describe where its mask comes from and how it changes; a pruned model
#: is not such a run
_RUN_ENTRIES = (
    *("ticket", "ticket_digest", "choices", "files", "ranking", "growth", "patience"),
    *("start_weights", "pruned_values", "learned", "explored"),
)


def prune_components(
    path: Union[str, Path],
    choice_path: Union[str, Path],
    out: Union[str, Path],
    overwrite: bool = False,
) -> ComponentMask:
    """Write a model with components pruned, as a checkpoint without optimizer state and EMA.

    The weights and biases of pruned components are zero, so the checkpoint translates as the model
    under ``Gates`` does. A mask in the checkpoint is restricted and no longer belongs to a ticket.
    Everything else is unchanged. A compact model is written as a plain checkpoint.

    Returns:
        The choice in ``choice_path``.

    Raises:
        LotteryError: ``path`` is not a checkpoint or compact model, or was cut; the choice is for
            another model; or the mask leaves a pruned component dense.
    """
    source, state = _read_model(path, out)
    components, _ = load_choice_for(source, choice_path)
    keep = weight_masks(components, source.shapes)
    mask = source.mask if source.kind == "checkpoint" else None
    if mask is not None:
        for name in keep:
            if name not in mask:
                raise LotteryError(
                    f"the mask of {path} leaves {name} dense, but --components prunes some of it;"
                    " prune the output of fairseq-lottery export, which has no mask"
                )
        mask = restrict(mask, components, source.shapes)
    model = without_biases(_zeroed(state["model"], keep), components)
    _save(out, state, model, mask, overwrite)
    return components


def prune_weights(
    path: Union[str, Path],
    mask_path: Union[str, Path],
    out: Union[str, Path],
    overwrite: bool = False,
) -> Mask:
    """Write a model without the weights that a ticket's mask prunes, as ``prune_components`` does.

    A checkpoint of this plugin's task stores the mask; one of plain fairseq has no place for it.

    Returns:
        The mask.

    Raises:
        LotteryError: ``path`` is not a checkpoint or compact model, or is pruned or cut already;
            or the mask is of another model.
    """
    source, state = _read_model(path, out)
    mask = read_source(mask_path).mask
    if mask is None or any(source.shapes.get(n) != tuple(keep.shape) for n, keep in mask.items()):
        raise LotteryError(f"{mask_path} does not have a mask for a model like {path}")
    if source.is_pruned:
        raise LotteryError(f"{path} is pruned already; prune the dense model")
    stored = mask if source.lottery else None
    _save(out, state, _zeroed(state["model"], mask), stored, overwrite)
    return mask


def _read_model(path: Union[str, Path], out: Union[str, Path]) -> tuple[Source, dict[str, Any]]:
    """Read a checkpoint, or a compact file as one; reject a model that was cut."""
    if Path(out).suffix == ".safetensors":
        raise LotteryError(f"--out {out} will be a checkpoint; give a name that ends in .pt")
    source = read_source(path)
    source.refuse_pair_masks()
    if source.kind not in ("checkpoint", KIND):
        raise LotteryError(
            f"{path} is a {source.kind}, expected a checkpoint; prune its components with"
            " fairseq-lottery ticket --mask-from and --components"
        )
    source.refuse_leaks()
    if source.cut:
        raise LotteryError(
            f"heads or units were cut out of {path}; restore them with fairseq-lottery export"
            " --to dense, and prune that"
        )
    return source, dict(source.state)


def _zeroed(model: Mapping[str, Any], keep: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a state dict with zeros where ``keep`` is False; a tied tensor stays one tensor."""
    weights, ties = untie(model)
    zeroed = {**model, **weights}
    for name, kept in keep.items():
        zeroed[name] = zeroed[name].masked_fill(~kept, 0)
    return {name: zeroed[ties.get(name, name)] for name in model}


def _save(
    out: Union[str, Path],
    state: Mapping[str, Any],
    model: Mapping[str, Any],
    mask: Optional[Mask],
    overwrite: bool,
) -> None:
    """Write a checkpoint; a mask is stored with the dictionaries of this plugin's task."""
    task_state = dict(state.get("task_state") or {})
    if mask is not None:
        entries = {n: v for n, v in task_state["lottery"].items() if n not in _RUN_ENTRIES}
        # start signs belong to a mask: a dense run may have trained under one of other matrices
        if set(entries.get("start_signs") or {}) != set(mask):
            entries["start_signs"] = {}
        task_state["lottery"] = {**entries, "mask": mask_to_state(mask)}
    kept = ("args", "cfg", "criterion", "optimizer_history")
    checkpoint = {
        **{name: state[name] for name in kept if name in state},
        "model": model,
        "task_state": task_state,
        "extra_state": {"train_iterator": {"epoch": 1}, "val_loss": None},
        "last_optimizer_state": None,
    }
    with replacing(out, overwrite) as temporary, open(temporary, "wb") as file:
        torch.save(checkpoint, file)
