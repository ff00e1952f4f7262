"""Replace matrices of a trained model by ones that multiply faster, for decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional, Union

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import use_modules
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.matrix_choices import Choices, kept_choices
from fairseq_lottery.sparse.sparse_matrix import (
    KernelMatrix,
    Matrix,
    PackedEmbedding,
    PackedLinear,
    PanelMatrix,
    SparseMatrix,
    Survivors,
)

Layer = Union[nn.Linear, nn.Embedding]
#: maximum density of matrices that are measured, and of embeddings that are only looked up; it is
#: above a half because a mask of 50 % may keep slightly more
_DENSEST = 0.51


@dataclass(frozen=True)
class Sparse:
    """Counts and sizes of the matrices of a model, tied ones counted once.

    Attributes:
        sparse: number of sparse matrices.
        dense: number of dense matrices.
        bytes: bytes of the sparse matrices.
        dense_bytes: bytes of the same matrices if dense.
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


class Selection:
    """Decide which matrices of a model are stored sparse.

    Args:
        model: fp32 model on the CPU; weights may lack their content.
        rows: smallest number of rows in a product, sentences x beam; speed is measured with it.
        matrix: class of sparse matrices; by default the fastest available.
        choices: measured speedups; by default those of this machine.

    Attributes:
        weights: parameters of layers that can be replaced, tied ones once.
        multiplied: those of linear layers; the others are only looked up.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: int = 1,
        matrix: Optional[type[SparseMatrix]] = None,
        choices: Optional[Choices] = None,
    ) -> None:
        self._rows, self._kind, self._choices = rows, matrix or engine(), choices or kept_choices()
        layers = [layer for _, _, layer in _layers(model)]
        self.weights = list(dict.fromkeys(layer.weight for layer in layers))
        self.multiplied = {layer.weight for layer in layers if isinstance(layer, nn.Linear)}
        self._among = sum(weight.numel() * weight.element_size() for weight in self.multiplied)

    def sparse_form(self, weight: Tensor, survivors: Survivors) -> Optional[SparseMatrix]:
        """Return the sparse matrix of a parameter, or None if it is not faster.

        Args:
            weight: one of ``weights``.
            survivors: its content.
        """
        if self._kind is None or not weight.numel():
            return None
        if int(torch.count_nonzero(survivors.values)) > _DENSEST * weight.numel():
            return None
        # the kernel has 16-bit columns
        matrix = (SparseMatrix if weight.shape[1] > 1 << 16 else self._kind)(survivors)
        if weight in self.multiplied:
            return matrix if self._choices.is_worth(matrix, self._rows, self._among) else None
        return matrix


def engine() -> Optional[type[SparseMatrix]]:
    """Return the fastest available matrix: the compiled kernel, torch's CSR, or None."""
    if native() is not None:
        return KernelMatrix
    try:
        SparseMatrix(torch.eye(2)).linear(torch.ones(1, 2), None)
    except RuntimeError:  # a torch without MKL
        return None
    return SparseMatrix


def sparsify(
    model: nn.Module,
    rows: int = 1,
    matrix: Optional[type[SparseMatrix]] = None,
    choices: Optional[Choices] = None,
) -> Sparse:
    """Replace matrices that multiply faster as sparse ones, in place; idempotent.

    The outputs are equal up to the order of additions, and the model cannot be trained any more.

    Args:
        model: fp32 model on the CPU.
        rows: smallest number of rows in a product, sentences x beam; speed is measured with it.
        matrix: class of sparse matrices; by default the fastest available.
        choices: measured speedups; by default those of this machine.

    Raises:
        LotteryError: the weights are not fp32, or not on the CPU.
    """
    refuse_other_precision(model)
    selection = Selection(model, rows, matrix, choices)
    matrices: dict[Tensor, Matrix] = {}
    for weight in selection.weights:
        candidate = selection.sparse_form(weight, Survivors(None, weight.detach()))
        if candidate is not None:
            matrices[weight] = candidate
    replace_layers(model, matrices)
    packed = list(_packed(model))
    sparse = [m for m in packed if isinstance(m, SparseMatrix)]
    return Sparse(
        sparse=len(sparse),
        dense=len({layer.weight for _, _, layer in _layers(model)}) + len(packed) - len(sparse),
        bytes=sum(m.bytes for m in sparse),
        dense_bytes=sum(4 * m.outputs * m.inputs for m in sparse),
    )


def pack(model: nn.Module) -> None:
    """Store the dense matrices of linear layers in panels, which the compiled kernels multiply.

    Like ``sparsify``, it replaces layers in place, and the model cannot be trained any more.

    Raises:
        LotteryError: the weights are not fp32, or not on the CPU.
    """
    refuse_other_precision(model)
    linears = [layer for _, _, layer in _layers(model) if isinstance(layer, nn.Linear)]
    weights = list({layer.weight for layer in linears})
    del linears
    while weights:  # one by one, so that memory for one more matrix suffices
        weight = weights.pop()
        if weight.numel():
            replace_layers(model, {weight: PanelMatrix(weight.detach())})
        del weight


def refuse_other_precision(model: nn.Module) -> None:
    """Raise LotteryError unless all weights of the model are fp32 on a CPU."""
    weights = [layer.weight for _, _, layer in _layers(model)]
    weights += [matrix.values for matrix in _packed(model)]
    for weight in weights:
        if weight.device.type != "cpu" or weight.dtype != torch.float32:
            raise LotteryError(
                "sparse matrices require fp32 weights on a CPU; omit --fp16, or do not give"
                " --sparse-decode"
            )


def replace_layers(model: nn.Module, matrices: Mapping[Tensor, Matrix]) -> None:
    """Replace the layers of these weights by layers over their matrices."""
    for parent, name, layer in list(_layers(model)):
        if layer.weight in matrices:
            setattr(parent, name, _replacement(layer, matrices[layer.weight]))
    if matrices:
        use_modules(model)


def _packed(model: nn.Module) -> Iterator[Matrix]:
    """Yield the matrices of layers that were replaced, tied ones once."""
    return (module for module in model.modules() if isinstance(module, Matrix))


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Layer]]:
    """Yield parent, name and layer of all layers that can be replaced.

    Subclasses, embeddings with ``max_norm`` and layers with hooks may compute something else.
    """
    for parent in model.modules():
        for name, layer in parent.named_children():
            if layer._forward_hooks or layer._forward_pre_hooks:
                continue
            if type(layer) is nn.Linear or (type(layer) is nn.Embedding and not layer.max_norm):
                yield parent, name, layer


def _replacement(layer: Layer, matrix: Matrix) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return PackedLinear(matrix, layer.bias)
    return PackedEmbedding(matrix, layer.padding_idx)
