"""A trained model that decodes with sparse matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional, Union

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import use_modules
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.sparse.kernel import sparse_linear
from fairseq_lottery.sparse.matrix_choices import Choices, kept_choices
from fairseq_lottery.sparse.sparse_matrix import (
    KernelMatrix,
    SparseEmbedding,
    SparseLinear,
    SparseMatrix,
)

Layer = Union[nn.Linear, nn.Embedding]
#: the density up to which it is worth measuring, and up to which a table is held sparse from which
#: rows are looked up only; a hundredth above a half, for a mask of 50 % keeps a half only nearly
_DENSEST = 0.51


@dataclass(frozen=True)
class Sparse:
    """How a model holds its matrices, tied ones counted once.

    Attributes:
        sparse: matrices that are held sparse.
        dense: matrices that are not.
        bytes: of the sparse ones, as they are held.
        dense_bytes: of the same matrices, held dense.
    """

    sparse: int
    dense: int
    bytes: int
    dense_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.sparse} of {self.sparse + self.dense} matrices are sparse:"
            f" {self.bytes / 1e6:.1f} MB, dense {self.dense_bytes / 1e6:.1f} MB"
        )


def engine() -> Optional[type[SparseMatrix]]:
    """The fastest that works here: the compiled kernel, torch's CSR, or None."""
    if sparse_linear() is not None:
        return KernelMatrix
    try:
        SparseMatrix(torch.eye(2)).linear(torch.ones(1, 2), None)
    except RuntimeError:  # torch leaves it to MKL, where it was built with that
        return None
    return SparseMatrix


def sparsify(
    model: nn.Module,
    rows: int = 1,
    matrix: Optional[type[SparseMatrix]] = None,
    choices: Optional[Choices] = None,
) -> Sparse:
    """Hold what multiplies faster as sparse, in place; a second time changes nothing.

    The model gives the same up to the order of additions, and learns nothing any more.

    Args:
        model: fp32, on the CPU.
        rows: sentences x beam, at least; products of as many rows are measured.
        matrix: how to multiply; by default the fastest way that works here.
        choices: what is faster; by default as measured on this machine, now or before.

    Raises:
        LotteryError: the weights are not fp32, or not on the CPU.
    """
    kind = matrix or engine()
    choices = choices or kept_choices()
    held: dict[Tensor, Optional[SparseMatrix]] = {}
    layers = list(_layers(model))
    multiplied = {layer.weight for _, _, layer in layers if isinstance(layer, nn.Linear)}
    among = sum(weight.numel() * weight.element_size() for weight in multiplied)
    for parent, name, layer in layers:
        weight = layer.weight
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            raise LotteryError(
                "sparse decoding is for fp32 weights on a CPU; add --cpu and do without --fp16"
            )
        if weight not in held:
            found = _candidate(weight.detach(), kind)
            if found is not None and weight in multiplied:
                is_worth = choices.is_worth(weight.detach(), found, rows, among)
                found = found if is_worth else None
            held[weight] = found
        found = held[weight]
        if found is not None:
            setattr(parent, name, _replacement(layer, found))
    if any(held.values()):
        use_modules(model)
    sparse = [m for m in model.modules() if isinstance(m, SparseMatrix)]
    return Sparse(
        sparse=len(sparse),
        dense=len({layer.weight for _, _, layer in _layers(model)}),
        bytes=sum(m.bytes for m in sparse),
        dense_bytes=sum(4 * m.outputs * m.inputs for m in sparse),
    )


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Layer]]:
    """Where a layer lies that can be replaced; a subclass may do something else.

    An embedding that rescales what it looks up is no mere table.
    """
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear or (type(layer) is nn.Embedding and not layer.max_norm):
                yield parent, name, layer


def _candidate(weight: Tensor, kind: Optional[type[SparseMatrix]]) -> Optional[SparseMatrix]:
    """The matrix held sparse, where that may be worth it."""
    if kind is None or not weight.numel():
        return None
    if int(torch.count_nonzero(weight)) > _DENSEST * weight.numel():
        return None
    # the kernel cannot number more columns
    return SparseMatrix(weight) if weight.shape[1] > 1 << 16 else kind(weight)


def _replacement(layer: Layer, matrix: SparseMatrix) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return SparseLinear(matrix, layer.bias)
    return SparseEmbedding(matrix, layer.padding_idx)
