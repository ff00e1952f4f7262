"""Scores that need no data: how large the weights of a head, an FFN unit or an FFN block are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.importance import Scores

Weights = Mapping[str, Tensor]

_READING = ("q_proj", "k_proj", "v_proj")


def l1(weights: Weights, anatomy: Anatomy) -> Scores:
    """The sum of the magnitudes of all that a part has.

    A head has its rows of the query, key and value matrices, their biases, and its columns of the
    output projection; an FFN unit its row of the first matrix, its bias and its column of the
    second; a block both matrices and both biases. Biases that a model does not have count nothing.

    Raises:
        LotteryError: a matrix is not there, or not of the anatomy's size.
    """
    return _scores(weights, anatomy, torch.abs, columns=True)


def l2(weights: Weights, anatomy: Anatomy) -> Scores:
    """The Euclidean norm of what ``l1`` sums."""
    squares = _scores(weights, anatomy, torch.square, columns=True)
    return {k: {n: v.sqrt() for n, v in modules.items()} for k, modules in squares.items()}


def adaprune(weights: Weights, anatomy: Anatomy) -> Scores:
    """What fairseq's own head pruning ranks by (``mha_heads_to_keep``): ``l1``, but of a head no
    columns of the output projection.
    """
    return _scores(weights, anatomy, torch.abs, columns=False)


def _scores(
    weights: Weights, anatomy: Anatomy, size: Callable[[Tensor], Tensor], columns: bool
) -> Scores:
    """The sum of ``size`` over the entries of each part, in fp64."""

    def entries(name: str, rows: bool, parts: int) -> Tensor:
        """(part, entry) of a tensor whose rows, or columns, belong to parts."""
        if name not in weights:
            raise LotteryError(f"the model has no {name}, so its parts have no norm")
        tensor = size(weights[name].detach().double())
        lines = tensor if rows else tensor.T
        if not lines.shape[0] or lines.shape[0] % parts:
            raise LotteryError(
                f"{name} has shape {tuple(tensor.shape)}, which does not divide into {parts} parts"
            )
        return lines.reshape(parts, -1)

    def total(parts: int, rows: list[str], second: list[str]) -> Tensor:
        found = torch.zeros(parts, dtype=torch.float64)
        for name in rows:
            if name in weights or name.endswith(".weight"):
                found += entries(name, True, parts).sum(dim=1).cpu()
        for name in second:
            found += entries(name, False, parts).sum(dim=1).cpu()
        return found

    heads = {
        name: total(
            count,
            [f"{name}.{p}.{kind}" for p in _READING for kind in ("weight", "bias")],
            [f"{name}.out_proj.weight"] if columns else [],
        )
        for name, count in anatomy.heads.items()
    }
    units = {
        name: total(count, [f"{name}.fc1.weight", f"{name}.fc1.bias"], [f"{name}.fc2.weight"])
        for name, count in anatomy.units.items()
    }
    blocks = {
        name: units[name].sum()[None] + total(1, [f"{name}.fc2.bias"], []) for name in anatomy.units
    }
    return {"heads": heads, "units": units, "blocks": blocks}
