"""Scores without data: the norms of the weights of a head, an FFN unit or an FFN block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, tensors_of
from fairseq_lottery.heads.measures.importance import Scores

Weights = Mapping[str, Tensor]


def l1(weights: Weights, anatomy: Anatomy) -> Scores:
    """Return the sum of the magnitudes of all weights of each component.

    A head has its rows of the query, key and value matrices, their biases, and its columns of the
    output projection; an FFN unit its row of the first matrix, its bias and its column of the
    second; a block both matrices and both biases. Missing biases count as zero.
    """
    return _scores(weights, anatomy, torch.abs)


def l2(weights: Weights, anatomy: Anatomy) -> Scores:
    """Return the Euclidean norm of the weights that ``l1`` sums."""
    squares = _scores(weights, anatomy, torch.square)
    return {k: {n: v.sqrt() for n, v in modules.items()} for k, modules in squares.items()}


def adaprune(weights: Weights, anatomy: Anatomy) -> Scores:
    """Return the scores of fairseq's own head pruning (``mha_heads_to_keep``).

    They are those of ``l1``, but for a head without the columns of the output projection.
    """
    return _scores(weights, anatomy, torch.abs, head_columns=False)


def _scores(
    weights: Weights,
    anatomy: Anatomy,
    size: Callable[[Tensor], Tensor],
    head_columns: bool = True,
) -> Scores:
    """Return the sum of ``size`` over the entries of each component, in fp64."""

    def total(groups: int, tensors: Iterable[tuple[str, int]]) -> Tensor:
        """Sum over tensors that consist of ``groups`` components along a dimension."""
        sums = torch.zeros(groups, dtype=torch.float64)
        for name, dim in tensors:
            if name not in weights and name.endswith(".bias"):
                continue
            if name not in weights:
                raise LotteryError(f"the model has no {name}, so its components have no norm")
            tensor = size(weights[name].detach().double())
            lines = tensor.transpose(0, dim)
            if not lines.shape[0] or lines.shape[0] % groups:
                raise LotteryError(
                    f"{name} has shape {tuple(tensor.shape)}, which does not divide into {groups}"
                    " components"
                )
            sums += lines.reshape(groups, -1).sum(dim=1).cpu()
        return sums

    heads = {
        name: total(count, (one for one in tensors_of(name) if head_columns or one[1] == 0))
        for name, count in anatomy.heads.items()
    }
    units = {name: total(count, tensors_of(name)) for name, count in anatomy.units.items()}
    blocks = {n: own.sum()[None] + total(1, [(f"{n}.fc2.bias", 0)]) for n, own in units.items()}
    return {"heads": heads, "units": units, "blocks": blocks}
