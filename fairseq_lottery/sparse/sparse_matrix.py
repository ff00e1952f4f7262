"""Weight matrices in forms that multiply fast, and layers that use them."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.sparse.kernel import native

#: outputs of a panel, as in native/products.h
_PANEL = 4


class Matrix(nn.Module):
    """fp32 weights of shape (outputs, inputs); checkpoints do not contain its buffers.

    Attributes:
        values: fp32 weights, in an order of their own.
    """

    outputs: int
    inputs: int
    values: Tensor

    @property
    def bytes(self) -> int:
        """Return the bytes of all buffers."""
        return sum(b.numel() * b.element_size() for b in self.buffers())

    def linear(self, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """Return ``x W^T + bias``: (..., inputs) -> (..., outputs)."""
        raise NotImplementedError

    def rows(self, index: Tensor) -> Tensor:
        """Return dense rows for an index of any shape: (...) -> (..., inputs)."""
        raise NotImplementedError

    def _refuse_other_width(self, x: Tensor) -> None:
        if x.shape[-1] != self.inputs:
            raise RuntimeError(f"x has {x.shape[-1]} columns, expected {self.inputs}")


class NativeMatrix(Matrix):
    """A matrix that the compiled kernels multiply."""

    def parts(self) -> tuple[Any, ...]:
        """Return outputs, inputs and the buffers, as the compiled operators expect them."""
        raise NotImplementedError

    def linear(self, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """Return ``x W^T + bias``: (..., inputs) -> (..., outputs)."""
        self._refuse_other_width(x)  # an exception in the kernel may end the process
        kernels: Any = native()
        result: Tensor = kernels.linear(x, *self.parts(), bias)
        return result


class SparseMatrix(Matrix):
    """Compressed rows, multiplied by torch.

    Attributes:
        starts: int32, (outputs + 1): index of the first weight of each row.
        columns: int32, (weights).
        values: fp32, (weights).
    """

    column_type = torch.int32
    starts: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.shape
        row, column = torch.nonzero(weight, as_tuple=True)
        starts = torch.zeros(self.outputs + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(row, minlength=self.outputs), 0, out=starts[1:])
        for name, tensor in (
            ("starts", starts.to(torch.int32)),
            ("columns", column.to(self.column_type)),
            ("values", weight[row, column]),
        ):
            self.register_buffer(name, tensor, persistent=False)

    def linear(self, x: Tensor, bias: Optional[Tensor]) -> Tensor:
        """Return ``x W^T + bias``: (..., inputs) -> (..., outputs)."""
        self._refuse_other_width(x)
        rows = x.reshape(-1, self.inputs).t()
        if bias is None:
            product = torch.mm(self._csr, rows)
        else:
            product = torch.addmm(bias[:, None].expand(-1, rows.shape[1]), self._csr, rows)
        return product.t().contiguous().view(*x.shape[:-1], self.outputs)

    @cached_property
    def _csr(self) -> Tensor:
        with warnings.catch_warnings():  # torch warns that CSR is beta
            warnings.filterwarnings("ignore", message="Sparse")
            shape = (self.outputs, self.inputs)
            return torch.sparse_csr_tensor(self.starts, self.columns, self.values, size=shape)

    def rows(self, index: Tensor) -> Tensor:
        """Return dense rows for an index of any shape: (...) -> (..., inputs)."""
        flat = index.reshape(-1)
        first = self.starts[flat].long()
        counts = self.starts[flat + 1].long() - first
        row = torch.repeat_interleave(torch.arange(len(flat)), counts)
        entry = torch.arange(len(row)) + (first - torch.cumsum(counts, 0) + counts)[row]
        dense = self.values.new_zeros(len(flat), self.inputs)
        dense[row, self._columns(entry)] = self.values[entry]
        return dense.view(*index.shape, self.inputs)

    def _columns(self, entry: Tensor) -> Tensor:
        return self.columns[entry].long()


class KernelMatrix(NativeMatrix, SparseMatrix):
    """Compressed rows with 16-bit columns, multiplied by the compiled kernels."""

    column_type = torch.int16

    def parts(self) -> tuple[Any, ...]:
        """Return outputs, inputs and the buffers, as the compiled operators expect them."""
        return self.outputs, self.inputs, self.starts, self.columns, self.values

    def _columns(self, entry: Tensor) -> Tensor:
        return self.columns[entry].long() & 0xFFFF  # torch 1.12 has only signed 16-bit integers


class PanelMatrix(NativeMatrix):
    """A dense matrix in panels of four outputs, multiplied by the compiled kernels.

    Attributes:
        values: fp32, (ceil(outputs / 4), inputs, 4).
    """

    values: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.outputs, self.inputs = weight.shape
        padding = -self.outputs % _PANEL
        padded = nn.functional.pad(weight, (0, 0, 0, padding)).view(-1, _PANEL, self.inputs)
        self.register_buffer("values", padded.transpose(1, 2).contiguous(), persistent=False)

    def parts(self) -> tuple[Any, ...]:
        """Return outputs, inputs and the buffers, as the compiled operators expect them."""
        return self.outputs, self.inputs, None, None, self.values

    def rows(self, index: Tensor) -> Tensor:
        """Return dense rows for an index of any shape: (...) -> (..., inputs)."""
        return self.values[torch.div(index, _PANEL, rounding_mode="floor"), :, index % _PANEL]


class PackedLinear(nn.Module):
    """``nn.Linear`` over a ``Matrix``; without gradients."""

    def __init__(self, matrix: Matrix, bias: Optional[Tensor]) -> None:
        super().__init__()
        self.matrix = matrix
        self.bias = bias
        self.in_features, self.out_features = matrix.inputs, matrix.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the product: (..., inputs) -> (..., outputs)."""
        return self.matrix.linear(x, self.bias)


class PackedEmbedding(nn.Module):
    """``nn.Embedding`` over a ``Matrix``; without gradients."""

    def __init__(self, matrix: Matrix, padding_idx: Optional[int]) -> None:
        super().__init__()
        self.matrix = matrix
        self.padding_idx = padding_idx
        self.num_embeddings, self.embedding_dim = matrix.outputs, matrix.inputs

    def forward(self, index: Tensor) -> Tensor:
        """Return the embeddings: (...) -> (..., embedding_dim)."""
        return self.matrix.rows(index)
