"""Which matrices are worth it: the densities below which sparse beats dense.

Measured by ``benchmarks/products.py`` (docs/performance.md): the largest density at which the
sparse product of every shape of a Transformer base takes no longer than the dense one. A few
rows leave the dense product waiting for memory, and are where sparse gains least.
"""

from __future__ import annotations

from fairseq_lottery.sparse.matrix import KernelMatrix, SparseMatrix

#: engine -> (rows of x at least, largest density), the most rows first
_LARGEST = {
    KernelMatrix: ((5, 0.5), (2, 0.25), (1, 0.1)),
    SparseMatrix: ((2, 0.1), (1, 0.05)),
}


def largest_density(engine: type[SparseMatrix], rows: int) -> float:
    """The density up to which a matrix is held sparse.

    Args:
        engine: ``KernelMatrix`` or ``SparseMatrix``.
        rows: of x, that the matrix meets at least: the beam, where it decodes one sentence.
    """
    return next(density for least, density in _LARGEST[engine] if rows >= least)
