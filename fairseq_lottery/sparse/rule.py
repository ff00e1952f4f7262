"""Which matrices are worth it: the densities up to which sparse is no slower than dense.

Measured by ``benchmarks/products.py`` (docs/performance.md) on the shapes of a Transformer base. A
few rows are where sparse gains least, as long as the dense matrix fits into a cache.
"""

from __future__ import annotations

from fairseq_lottery.sparse.matrix import KernelMatrix, SparseMatrix

#: engine -> (rows of x at least, largest density), the most rows first; a hundredth more than
#: measured, for a mask of 90 % keeps 10 % of a matrix only nearly
_LARGEST = {
    KernelMatrix: ((5, 0.51), (2, 0.26), (1, 0.11)),
    SparseMatrix: ((5, 0.21), (2, 0.11), (1, 0.021)),
}
#: weights that fit into no cache of a core: dense waits for memory, whatever the rows
_BEYOND_CACHE = 1 << 22


def largest_density(engine: type[SparseMatrix], rows: int, weights: int) -> float:
    """The density up to which a matrix is held sparse.

    Args:
        engine: ``KernelMatrix`` or ``SparseMatrix``.
        rows: of x, that the matrix meets at least: the beam, where it decodes one sentence.
        weights: of the matrix, zeros too.
    """
    least = rows if weights < _BEYOND_CACHE else max(rows, 5)
    return next(density for at_least, density in _LARGEST[engine] if least >= at_least)
