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


def l1(weights: Weights, anatomy: Anatomy) -> Scores:
    """The sum of the magnitudes of all that a part has.

    A head has its rows of the query, key and value matrices, their biases, and its columns of the
    output projection; an FFN unit its row of the first matrix, its bias and its column of the
    second; a block both matrices and both biases. Biases that a model does not have count nothing.
    """
    return _scores(weights, anatomy, torch.abs)


def l2(weights: Weights, anatomy: Anatomy) -> Scores:
    """The Euclidean norm of what ``l1`` sums."""
    squares = _scores(weights, anatomy, torch.square)
    return {k: {n: v.sqrt() for n, v in modules.items()} for k, modules in squares.items()}


def adaprune(weights: Weights, anatomy: Anatomy) -> Scores:
    """What fairseq's own head pruning ranks by (``mha_heads_to_keep``): ``l1``, but of a head no
    columns of the output projection.
    """
    return _scores(weights, anatomy, torch.abs, head_columns=False)


def _scores(
    weights: Weights,
    anatomy: Anatomy,
    size: Callable[[Tensor], Tensor],
    head_columns: bool = True,
) -> Scores:
    """The sum of ``size`` over the entries of each part, in fp64."""

    def total(parts: int, rows: list[str], columns: list[str]) -> Tensor:
        """Sum over tensors whose rows, and tensors whose columns, belong to parts."""
        found = torch.zeros(parts, dtype=torch.float64)
        for name in [*rows, *columns]:
            if name not in weights and name.endswith(".bias"):
                continue
            if name not in weights:
                raise LotteryError(f"the model has no {name}, so its parts have no norm")
            tensor = size(weights[name].detach().double())
            lines = tensor.T if name in columns else tensor
            if not lines.shape[0] or lines.shape[0] % parts:
                raise LotteryError(
                    f"{name} has shape {tuple(tensor.shape)}, which does not divide into {parts}"
                    " parts"
                )
            found += lines.reshape(parts, -1).sum(dim=1).cpu()
        return found

    reading = [f"{p}_proj.{kind}" for p in "qkv" for kind in ("weight", "bias")]
    heads = {
        name: total(
            count,
            [f"{name}.{one}" for one in reading],
            [f"{name}.out_proj.weight"] if head_columns else [],
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
