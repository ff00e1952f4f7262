"""The ways to multiply with a sparse matrix, as parameters of a test."""

import pytest

from fairseq_lottery.sparse.kernel import native
from fairseq_lottery.sparse.matrix_choices import Choices
from fairseq_lottery.sparse.sparse_matrix import KernelMatrix, SparseMatrix

built = pytest.mark.skipif(
    native() is None, reason="the kernel needs a C++ compiler and ninja"
)
engines = pytest.mark.parametrize(
    "engine", [SparseMatrix, pytest.param(KernelMatrix, marks=built)]
)


def always(ratio=2.0):
    """Choices of a machine on which every sparse product is so many times as fast as dense."""
    return Choices(measure=lambda ways: {"dense": ratio, "sparse": 1.0})
