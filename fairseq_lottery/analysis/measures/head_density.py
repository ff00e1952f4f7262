"""Density of the weights of single attention heads under a mask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.adapters.attention_modules import head_counts, layer_of, tensors_of_heads
from fairseq_lottery.analysis.model_file import ModelFile
from fairseq_lottery.analysis.registry import Row, measure
from fairseq_lottery.errors import LotteryError

#: value of the column ``matrix`` for the four matrices of a head together
ALL = "all"


def head_densities(
    mask: Mapping[str, Tensor], heads: Mapping[str, int]
) -> Iterator[tuple[str, str, list[float]]]:
    """Yield module, matrix and the share of weights that each head keeps.

    A head has a block of rows of the query, key and value matrices, and a block of columns of the
    output projection. (The public code of Movva & Zhao 2020 counts columns of all four.) After the
    matrices of a module, which are ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj``, comes
    ``all``: the matrices together. A matrix that the mask leaves dense is not counted.

    Args:
        mask: matrix -> bool tensor, True for kept weights.
        heads: attention module -> number of heads.
    """
    for module, count in heads.items():
        kept, sizes = [0] * count, 0
        for name, dim in tensors_of_heads(module):
            if name not in mask:
                continue
            blocks = mask[name].movedim(dim, 0).reshape(count, -1)
            of_heads = [int(number) for number in blocks.sum(dim=1).tolist()]
            kept = [total + number for total, number in zip(kept, of_heads)]
            sizes += blocks.shape[1]
            matrix = name.split(".")[-2]
            yield module, matrix, [number / blocks.shape[1] for number in of_heads]
        if sizes:
            yield module, ALL, [number / sizes for number in kept]


@measure(
    "head-density", command="complexity", over="masks", title="density of heads", in_report=True
)
def head_density(model: ModelFile) -> Iterator[Row]:
    """Yield the density of each head, in each of its matrices and in all four together."""
    if model.mask is None:
        raise LotteryError(
            f"{model.name} is dense, so its heads have no density; name a pruned file"
        )
    heads = head_counts(model.source.shapes, model.source.architecture)
    for module, matrix, densities in head_densities(model.mask, heads):
        part, layer = group_of(f"{module}.out_proj.weight"), layer_of(module) + 1
        for head, value in enumerate(densities, 1):
            yield {"part": part, "layer": layer, "head": head, "matrix": matrix, "value": value}
