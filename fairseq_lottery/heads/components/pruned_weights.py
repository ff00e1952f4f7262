"""The weights of pruned heads, FFN units and FFN blocks, as a mask prunes them.

Pruning a head sets its rows of the query, key and value matrices and its columns of the output
projection to zero; pruning an FFN unit its row of the first matrix and its column of the second.
Nothing hooks into the model: fairseq's fused attention, which calls no modules, reads the same
zeros, and training under the mask is training without the component. The biases of pruned
components are set to zero once. They get no gradient, so they stay zero. The biases after an output
projection and after an FFN belong to no component and are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, refuse_inner_norm, tensors_of
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.masks import Mask, shapes_of

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

#: projections of a head that attends evenly, which are kept
_OF_EVEN_HEADS = ("v_proj", "out_proj")


def pruned_tensors(components: ComponentMask, shapes: Shapes) -> Iterator[tuple[str, int, Tensor]]:
    """Yield each tensor of pruned heads or units, the dimension, and which indices are kept."""
    for name, heads in components["heads"].items():
        if bool(heads.all()):
            continue
        outputs = (shapes.get(f"{name}.out_proj.{kind}") for kind in ("weight", "bias"))
        width = next((shape[0] for shape in outputs if shape), 0)
        if not width or width % len(heads):
            raise LotteryError(f"the model has no attention {name} of {len(heads)} heads")
        keep = heads.repeat_interleave(width // len(heads))
        yield from ((tensor, dim, keep) for tensor, dim in tensors_of(name))
    for name in components.layers_with_pruned_ffn:
        keep = components.kept_units(name)
        yield from ((tensor, dim, keep) for tensor, dim in tensors_of(name))


def _entries(components: ComponentMask, shapes: Shapes) -> Iterator[tuple[str, Any]]:
    """Yield each weight and bias of pruned components, and the index of the pruned entries."""
    for name, dim, keep in pruned_tensors(components, shapes):
        shape = shapes.get(name)
        if shape is not None and (len(shape) <= dim or shape[dim] != len(keep)):
            rows = "columns" if dim else "rows"
            raise LotteryError(f"{name} has shape {tuple(shape)}, expected {len(keep)} {rows}")
        if components.mode == "zero" or name.split(".")[-2] not in _OF_EVEN_HEADS:
            yield name, (slice(None), ~keep) if dim else ~keep


def weight_masks(components: ComponentMask, shapes: Shapes) -> dict[str, Tensor]:
    """Return parameter -> bool tensor, False for weights of pruned components.

    Parameters without such weights are not in it.

    Raises:
        LotteryError: the model does not have fairseq's matrices, or normalises over pruned FFN
            units.
    """
    refuse_inner_norm(components.layers_with_pruned_ffn, shapes)
    keep: dict[str, Tensor] = {}
    for name, index in _entries(components, shapes):
        if name.endswith(".bias"):
            continue
        if name not in shapes:
            raise LotteryError(f"the model has no {name}, which has weights of pruned components")
        keep[name] = torch.ones(shapes[name], dtype=torch.bool)
        keep[name][index] = False
    return keep


def clear_biases(values: Weights, components: ComponentMask) -> None:
    """Set the biases of pruned components to zero, in place; no update changes them."""
    for name, index in _entries(components, shapes_of(values)):
        if name.endswith(".bias") and name in values:
            values[name][index] = 0


def without_biases(values: Weights, components: ComponentMask) -> dict[str, Tensor]:
    """Return ``values`` with the biases of pruned components at zero; copy only biases."""
    changed = {n: value.clone() if n.endswith(".bias") else value for n, value in values.items()}
    clear_biases(changed, components)
    return changed


def restrict(mask: Mask, components: ComponentMask, shapes: Shapes) -> Mask:
    """Return ``mask`` with pruned components pruned; reject components in a dense matrix."""
    entries = dict(mask)
    for name, keep in weight_masks(components, shapes).items():
        if name not in entries:
            raise LotteryError(
                f"{name} has weights of pruned components, but the prunable set leaves it dense;"
                " give --prunable all-matrices or no-embeddings"
            )
        entries[name] = entries[name] & keep
    return Mask(entries, mask.protected)


def find_pruned(weights: Weights, anatomy: Anatomy) -> ComponentMask:
    """Return which components contribute nothing, by the zeros of weights or the bits of a mask.

    A head is pruned if its columns of the output projection are all zero, or if its queries and
    keys are all zero (then it outputs the mean of its values). A unit is pruned if its column of
    the second matrix is all zero. If all units of a layer are pruned, its block is pruned instead.
    A missing tensor counts as one without zeros.
    """
    kept: dict[str, dict[str, Tensor]] = {"heads": {}, "units": {}, "blocks": {}}
    uneven: dict[str, Tensor] = {}
    for name, count in anatomy.heads.items():
        out, query, key = (
            weights.get(f"{name}.{p}.weight") for p in ("out_proj", "q_proj", "k_proj")
        )
        if out is not None:
            kept["heads"][name] = has_nonzeros(out.T, count)
        if query is not None and key is not None:
            uneven[name] = has_nonzeros(query, count) | has_nonzeros(key, count)
    for name, count in anatomy.units.items():
        second = weights.get(f"{name}.fc2.weight")
        if second is not None:
            units = has_nonzeros(second.T, count)
            kept["blocks"][name] = units.any()[None]
            kept["units"][name] = units | ~units.any()
    components = ComponentMask.of(anatomy, kept)
    has_even = any(not bool(keep.all()) for keep in uneven.values())
    if has_even and not components.count_pruned("heads"):
        return ComponentMask.of(anatomy, {**kept, "heads": uneven}, "uniform")
    return components


def has_nonzeros(rows: Tensor, groups: int) -> Tensor:
    """Return for each of ``groups`` equal groups of rows whether any entry is not zero."""
    return (rows != 0).reshape(groups, -1).any(dim=1)
