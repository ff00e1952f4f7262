"""More rows never make sparse less worth it; the kernel is worth it before torch's product."""

from fairseq_lottery.sparse.matrix import KernelMatrix, SparseMatrix
from fairseq_lottery.sparse.rule import largest_density


def test_the_rule_by_rows_and_engine():
    for engine in (KernelMatrix, SparseMatrix):
        found = [largest_density(engine, rows) for rows in range(1, 100)]
        assert found == sorted(found) and 0 < found[0] < found[-1] < 1
    for rows in (1, 2, 5, 80):
        assert largest_density(KernelMatrix, rows) > largest_density(SparseMatrix, rows)
