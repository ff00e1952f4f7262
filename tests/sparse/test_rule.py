"""More rows never make sparse less worth it; the kernel is worth it before torch's product."""

import pytest

from fairseq_lottery.sparse.matrix import KernelMatrix, SparseMatrix
from fairseq_lottery.sparse.rule import largest_density

LAYER, OUTPUT = 512 * 512, 37_000 * 512


@pytest.mark.parametrize("engine", [KernelMatrix, SparseMatrix])
def test_more_rows_never_make_it_less_worth(engine):
    found = [largest_density(engine, rows, LAYER) for rows in range(1, 100)]
    assert found == sorted(found) and 0 < found[0] < found[-1] < 1
    assert largest_density(engine, 1, OUTPUT) == found[-1]


def test_the_kernel_is_worth_it_first():
    for rows in (1, 2, 5, 80):
        kernel = largest_density(KernelMatrix, rows, LAYER)
        assert kernel > largest_density(SparseMatrix, rows, LAYER)
    assert kernel > 0.5  # a half-pruned model decodes sparse
