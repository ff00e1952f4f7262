"""Closed heads and units as weights: what is pruned, so that a mask keeps them closed.

A head is closed by pruning its rows of the query, key and value matrices and its columns of the
output projection; an FFN unit by its row of the first matrix and its column of the second. Nothing
hooks into the model: fairseq's fused attention, which calls no modules, reads the same zeros, and
training under the mask is training without the part. The biases of what is closed are set to zero
once; they get no gradient, so they stay there. The biases behind an output projection and behind an
FFN belong to no part and stay.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.masks import Mask

Weights = Mapping[str, Tensor]


def pruned_by(parts: Parts, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Parameter -> bool tensor that is False where a closed part is; what is open is left out.

    Raises:
        LotteryError: the model has not the matrices that fairseq's has, or FFN units are closed
            that it normalises over.
    """
    keep: dict[str, Tensor] = {}

    def entries(name: str) -> Tensor:
        if name not in shapes:
            raise LotteryError(f"the model has no {name}, which has weights of what is closed")
        if name not in keep:
            keep[name] = torch.ones(shapes[name], dtype=torch.bool)
        return keep[name]

    for kind in ("units", "blocks"):
        for name, _ in parts.closed(kind):
            refuse_inner_norm(name, shapes)
    for name, number in parts.closed("heads"):
        rows = _rows(parts.anatomy, name, number, shapes)
        for projection in _PROJECTIONS[parts.mode]:
            entries(f"{name}.{projection}.weight")[rows] = False
        if parts.mode == "zero":
            entries(f"{name}.out_proj.weight")[:, rows] = False
    for name, number in parts.closed("units"):
        entries(f"{name}.fc1.weight")[number] = False
        entries(f"{name}.fc2.weight")[:, number] = False
    for name, _ in parts.closed("blocks"):
        for matrix in ("fc1", "fc2"):
            entries(f"{name}.{matrix}.weight")[:] = False
    return keep


def restrict(mask: Mask, parts: Parts, shapes: Mapping[str, tuple[int, ...]]) -> Mask:
    """``mask`` with the weights of closed parts pruned as well.

    Raises:
        LotteryError: a part's matrix is not prunable under ``mask``.
    """
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
    """The parts that contribute nothing, by the zeros of weights (or the bits of a mask).

    Closed are heads whose columns of the output projection are all zero, heads without queries
    and keys (the mean of their values is what they give), and units whose column of the second
    matrix is all zero; where all units of a layer are, it is its block that is closed. A tensor
    that is not there has no zeros.
    """
    zero: dict[str, dict[str, Tensor]] = {"heads": {}, "units": {}, "blocks": {}}
    uniform: dict[str, Tensor] = {}
    for name, count in anatomy.heads.items():
        out, query, key = (
            weights.get(f"{name}.{p}.weight") for p in ("out_proj", "q_proj", "k_proj")
        )
        if out is not None:
            zero["heads"][name] = _any(out.T.reshape(count, -1))
        if query is not None and key is not None:
            seen = [_any(one.reshape(count, -1)) for one in (query, key)]
            uniform[name] = seen[0] | seen[1]
    for name in anatomy.units:
        second = weights.get(f"{name}.fc2.weight")
        if second is None:
            continue
        units = _any(second.T)
        zero["blocks"][name] = units.any()[None]
        zero["units"][name] = units | ~units.any()
    parts = Parts.of(anatomy, zero)
    if not parts.count_closed("heads") and any(not bool(keep.all()) for keep in uniform.values()):
        return Parts.of(anatomy, {**zero, "heads": uniform}, "uniform")
    return parts


def clear_biases(values: Mapping[str, Tensor], parts: Parts) -> None:
    """Set the biases of closed parts to zero, in place; nothing moves them from there."""
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    for name, number in parts.closed("heads"):
        rows = _rows(parts.anatomy, name, number, shapes)
        for projection in _PROJECTIONS[parts.mode]:
            _clear(values, f"{name}.{projection}.bias", rows)
    for name, number in parts.closed("units"):
        _clear(values, f"{name}.fc1.bias", slice(number, number + 1))
    for name, _ in parts.closed("blocks"):
        _clear(values, f"{name}.fc1.bias", slice(None))


#: of the matrices that read a head's input, which are pruned in each mode
_PROJECTIONS = {"zero": ("q_proj", "k_proj", "v_proj"), "uniform": ("q_proj", "k_proj")}


def _rows(anatomy: Anatomy, name: str, number: int, shapes: Mapping[str, tuple[int, ...]]) -> slice:
    width = shapes[f"{name}.out_proj.weight"][1] // anatomy.heads[name]
    return slice(number * width, (number + 1) * width)


def _any(rows: Tensor) -> Tensor:
    return (rows != 0).flatten(1).any(dim=1)


def _clear(values: Mapping[str, Tensor], name: str, rows: slice) -> None:
    if name in values:
        values[name][rows] = 0
