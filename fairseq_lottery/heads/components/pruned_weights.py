"""Closed heads and units as weights: what is pruned, so that a mask keeps them closed.

A head is closed by pruning its rows of the query, key and value matrices and its columns of the
output projection; an FFN unit by its row of the first matrix and its column of the second. Nothing
hooks into the model: fairseq's fused attention, which calls no modules, reads the same zeros, and
training under the mask is training without the part. The biases of what is closed are set to zero
once; they get no gradient, so they stay there. The biases behind an output projection and behind an
FFN belong to no part and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.masks import Mask

Weights = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]

#: of the matrices that read a head's input, which are pruned in each mode
_PROJECTIONS = {"zero": ("q_proj", "k_proj", "v_proj"), "uniform": ("q_proj", "k_proj")}


def _entries(parts: Parts, shapes: Shapes) -> Iterator[tuple[str, Any]]:
    """Each weight and bias that has entries of a closed part, and the index of these entries."""
    for name, number in parts.closed("heads"):
        out = f"{name}.out_proj.weight"
        if out not in shapes:
            raise _missing(out)
        width = shapes[out][1] // parts.anatomy.heads[name]
        rows = slice(number * width, (number + 1) * width)
        for projection in _PROJECTIONS[parts.mode]:
            yield f"{name}.{projection}.weight", rows
            yield f"{name}.{projection}.bias", rows
        if parts.mode == "zero":
            yield out, (slice(None), rows)
    for kind in ("units", "blocks"):
        for name, number in parts.closed(kind):
            units = slice(number, number + 1) if kind == "units" else slice(None)
            yield f"{name}.fc1.weight", units
            yield f"{name}.fc1.bias", units
            yield f"{name}.fc2.weight", (slice(None), units)


def _missing(name: str) -> LotteryError:
    return LotteryError(f"the model has no {name}, which has weights of what is closed")


def pruned_by(parts: Parts, shapes: Shapes) -> dict[str, Tensor]:
    """Return parameter -> bool tensor, False where a closed part is; what is open is left out.

    Raises:
        LotteryError: the model does not have the matrices of fairseq's, or closed FFN units are
            normalised.
    """
    refuse_inner_norm(parts.cut_layers, shapes)
    keep: dict[str, Tensor] = {}
    for name, index in _entries(parts, shapes):
        if name.endswith(".bias"):
            continue
        if name not in shapes:
            raise _missing(name)
        if name not in keep:
            keep[name] = torch.ones(shapes[name], dtype=torch.bool)
        keep[name][index] = False
    return keep


def clear_biases(values: Weights, parts: Parts) -> None:
    """Set the biases of closed parts to zero, in place; nothing moves them from there."""
    for name, index in _entries(parts, {n: tuple(value.shape) for n, value in values.items()}):
        if name.endswith(".bias") and name in values:
            values[name][index] = 0


def without_biases(values: Weights, parts: Parts) -> dict[str, Tensor]:
    """Return ``values`` with the biases of closed parts at zero; only biases are copied."""
    changed = {n: value.clone() if n.endswith(".bias") else value for n, value in values.items()}
    clear_biases(changed, parts)
    return changed


def restrict(mask: Mask, parts: Parts, shapes: Shapes) -> Mask:
    """Return ``mask`` with closed parts pruned as well; refuses a part that it leaves dense."""
    entries = dict(mask)
    for name, keep in pruned_by(parts, shapes).items():
        if name not in entries:
            raise LotteryError(
                f"{name} has parts that are closed, and the prunable set leaves it dense; give"
                " --prunable all-matrices or no-embeddings"
            )
        entries[name] = entries[name] & keep
    return Mask(entries, mask.protected)


def closed_in(weights: Weights, anatomy: Anatomy) -> Parts:
    """Return the parts that contribute nothing, by the zeros of weights (or the bits of a mask).

    Closed are heads whose columns of the output projection are all zero, heads without queries
    and keys (the mean of their values is what they give), and units whose column of the second
    matrix is all zero; where all units of a layer are, it is its block that is closed. A tensor
    that is not there has no zeros.
    """
    opened: dict[str, dict[str, Tensor]] = {"heads": {}, "units": {}, "blocks": {}}
    uneven: dict[str, Tensor] = {}
    for name, count in anatomy.heads.items():
        out, query, key = (
            weights.get(f"{name}.{p}.weight") for p in ("out_proj", "q_proj", "k_proj")
        )
        if out is not None:
            opened["heads"][name] = has_nonzeros(out.T, count)
        if query is not None and key is not None:
            uneven[name] = has_nonzeros(query, count) | has_nonzeros(key, count)
    for name, count in anatomy.units.items():
        second = weights.get(f"{name}.fc2.weight")
        if second is not None:
            units = has_nonzeros(second.T, count)
            opened["blocks"][name] = units.any()[None]
            opened["units"][name] = units | ~units.any()
    parts = Parts.of(anatomy, opened)
    if not parts.count_closed("heads") and any(not bool(keep.all()) for keep in uneven.values()):
        return Parts.of(anatomy, {**opened, "heads": uneven}, "uniform")
    return parts


def has_nonzeros(rows: Tensor, parts: int) -> Tensor:
    """Return for each of ``parts`` equal groups of rows whether any entry is not zero."""
    return (rows != 0).reshape(parts, -1).any(dim=1)
