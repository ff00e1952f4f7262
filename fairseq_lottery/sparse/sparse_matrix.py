"""Weight matrices in forms that multiply fast, and layers that use them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq_lottery.sparse.kernel import native

#: outputs of a panel, as in native/products.h
_PANEL = 4
#: weights of a matrix whose indices, of 16 bytes each, are in memory at a time
_PIECE = 1 << 18


@dataclass(frozen=True)
class Survivors:
    """The weights of a tensor without those that its mask prunes.

    Attributes:
        kept: bool, of the tensor's shape; None if ``values`` is the whole tensor.
        values: fp32, the kept weights in row-major order.
    """

    kept: Optional[Tensor]
    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """Return the shape of the tensor."""
        return self.values.shape if self.kept is None else self.kept.shape

    def dense(self) -> Tensor:
        """Return the tensor, zero where it is pruned."""
        if self.kept is None:
            return self.values
        full = torch.zeros(self.kept.shape, dtype=self.values.dtype)
        full[self.kept] = self.values
        return full

    def without_zeros(self, height: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield row, column and value of the weights of a matrix that are not zero, in order.

        Args:
            height: rows of the matrix in each item; its rows are counted from its first one.
        """
        done = 0
        for first in range(0, self.shape[0], height):
            if self.kept is None:
                weight = self.values[first : first + height]
                row, column = torch.nonzero(weight, as_tuple=True)
                yield row, column, weight[row, column]
            else:
                row, column = torch.nonzero(self.kept[first : first + height], as_tuple=True)
                values = self.values[done : done + len(row)]
                done += len(row)
                is_nonzero = values != 0
                yield row[is_nonzero], column[is_nonzero], values[is_nonzero]


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

    Args:
        weight: the matrix, or its survivors, which are never made dense.

    Attributes:
        starts: int32, (outputs + 1): index of the first weight of each row.
        columns: int32, (weights).
        values: fp32, (weights).
    """

    column_type = torch.int32
    starts: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, weight: Union[Tensor, Survivors]) -> None:
        super().__init__()
        survivors = weight if isinstance(weight, Survivors) else Survivors(None, weight)
        self.outputs, self.inputs = survivors.shape
        count = int(torch.count_nonzero(survivors.values))
        counts = torch.zeros(self.outputs + 1, dtype=torch.int64)
        columns, values = torch.empty(count, dtype=self.column_type), torch.empty(count)
        done, height = 0, max(1, _PIECE // max(1, self.inputs))
        for number, (row, column, value) in enumerate(survivors.without_zeros(height)):
            of_rows = counts[1 + number * height :][:height]
            of_rows.copy_(torch.bincount(row, minlength=len(of_rows)))
            place = slice(done, done + len(value))
            columns[place], values[place] = column, value
            done += len(value)
        for name, tensor in (
            ("starts", torch.cumsum(counts, 0).to(torch.int32)),
            ("columns", columns),
            ("values", values),
        ):
            self.register_buffer(name, tensor, persistent=False)

    def dense(self) -> Tensor:
        """Return the matrix with its zeros."""
        return self.rows(torch.arange(self.outputs))

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
