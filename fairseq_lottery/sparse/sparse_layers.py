"""What takes the place of torch's layers in a model that only decodes."""

from __future__ import annotations

from typing import Optional

from torch import Tensor, nn

from fairseq_lottery.sparse.sparse_matrix import SparseMatrix


class SparseLinear(nn.Module):
    """``nn.Linear`` over a sparse matrix; without gradients."""

    def __init__(self, matrix: SparseMatrix, bias: Optional[Tensor]) -> None:
        super().__init__()
        self.matrix = matrix
        self.bias = bias
        self.in_features, self.out_features = matrix.inputs, matrix.outputs

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return self.matrix.linear(x, self.bias)


class SparseEmbedding(nn.Module):
    """``nn.Embedding`` over a sparse matrix; without gradients."""

    def __init__(self, matrix: SparseMatrix, padding_idx: Optional[int]) -> None:
        super().__init__()
        self.matrix = matrix
        self.padding_idx = padding_idx
        self.num_embeddings, self.embedding_dim = matrix.outputs, matrix.inputs

    def forward(self, index: Tensor) -> Tensor:
        """(...) -> (..., embedding_dim)."""
        return self.matrix.rows(index)
