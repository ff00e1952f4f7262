"""Distributions of a sparsity over matrices: how many weights each matrix keeps.

The total is exact. Each matrix has a quota, a real number computed with fractions of integers, so
every machine computes the same. It keeps its quota rounded down; the weights that are still missing
go to the largest remainders, by name among equal ones (largest remainder method).

A quota never increases with the sparsity, but with largest remainders alone a matrix could keep one
weight more at a higher sparsity (the Alabama paradox). So no matrix gets more weights than it keeps
already; they go to the next remainder. So a sparsity that increases never regrows a weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Callable, Optional

from fairseq_lottery.adapters.parameter_groups import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks.mask import Mask


@dataclass(frozen=True)
class Matrix:
    """Part of a matrix that may be pruned.

    Attributes:
        size: number of prunable weights.
        extent: number of rows and columns (and further dimensions, added up) with prunable weights.
    """

    size: int
    extent: int

    @classmethod
    def of(cls, shape: Sequence[int], protected: Optional[int]) -> Matrix:
        """Return a matrix of a shape, without its protected row."""
        rows, *others = shape
        rows -= protected is not None
        return cls(rows * math.prod(others), rows + sum(others))


Quotas = Mapping[str, Fraction]


def erk_quotas(matrices: Mapping[str, Matrix], kept: int) -> Quotas:
    """Return the quotas of the Erdős-Rényi kernel distribution (Evci et al. 2020, section 3).

    The density of a matrix is epsilon * (n_in + n_out) / (n_in * n_out), so it keeps epsilon *
    (n_in + n_out) weights. Epsilon gives the total. A matrix whose density would exceed 1 is dense,
    and epsilon is computed again for the others.
    """
    sparse = dict(matrices)
    remaining = kept
    while True:
        epsilon = Fraction(remaining, max(sum(matrix.extent for matrix in sparse.values()), 1))
        dense = [name for name, m in sparse.items() if epsilon * m.extent > m.size]
        if not dense:
            return {
                name: epsilon * matrix.extent if name in sparse else Fraction(matrix.size)
                for name, matrix in matrices.items()
            }
        for name in dense:
            remaining -= sparse.pop(name).size


def uniform_quotas(matrices: Mapping[str, Matrix], kept: int) -> Quotas:
    """Return quotas of one density for all matrices but embeddings, which are dense.

    Raises:
        LotteryError: the embeddings alone have more weights than are kept.
    """
    dense = {name for name in matrices if group_of(name) == "embedding"}
    size = sum(matrix.size for matrix in matrices.values())
    rest = sum(matrix.size for name, matrix in matrices.items() if name not in dense)
    if kept < size - rest:
        raise LotteryError(
            f"--scope uniform keeps embeddings dense, which are {size - rest} of {size} prunable"
            f" weights, but the sparsity keeps {kept}; use a sparsity of at most"
            f" {_at_most(rest, size)}, or --scope erk, or --prunable no-embeddings"
        )
    density = Fraction(kept - (size - rest), max(rest, 1))
    return {
        name: Fraction(matrix.size) if name in dense else density * matrix.size
        for name, matrix in matrices.items()
    }


def _at_most(pruned: int, size: int) -> str:
    """Return a sparsity of 4 digits that prunes at most ``pruned`` of ``size`` weights."""
    return f"{math.floor(10**4 * Fraction(pruned, max(size, 1))) / 10**4:g}"


#: name of a scope -> function that returns quotas with a given sum
DISTRIBUTIONS: dict[str, Callable[[Mapping[str, Matrix], int], Quotas]] = {
    "uniform": uniform_quotas,
    "erk": erk_quotas,
}


def distribute(
    scope: str, current: Mask, kept: int, excluded: Optional[Mask] = None
) -> dict[str, int]:
    """Return how many weights of each matrix are pruned if the mask keeps ``kept`` weights.

    Args:
        scope: name of a distribution.
        current: mask that shrinks.
        kept: number of weights to keep, at most those of ``current``.
        excluded: mask of pruned components, which count as if they were cut out of their matrices.

    Raises:
        LotteryError: a matrix keeps fewer weights already than its quota, or ``uniform`` cannot
            reach the sparsity.
    """
    matrices = {name: _prunable_part(current, name, excluded) for name in current}
    quotas = DISTRIBUTIONS[scope](matrices, kept)
    available = {name: current.size(name) - current.pruned_in(name) for name in current}
    counts = {name: math.floor(quota) for name, quota in quotas.items()}
    for name, count in counts.items():
        if count > available[name]:
            raise LotteryError(
                f"{name} keeps {available[name]} weights, but --scope {scope} keeps {count} of it"
                " at this sparsity, and masks only shrink; choose another scope, or a mask of"
                f" --scope {scope}"
            )
    missing = kept - sum(counts.values())
    by_remainder = sorted(quotas, key=lambda name: (counts[name] - quotas[name], name))
    while missing:
        with_room = [name for name in by_remainder if counts[name] < available[name]]
        for name in with_room[:missing]:
            counts[name] += 1
        missing -= min(missing, len(with_room))
    return {name: current.size(name) - count for name, count in counts.items()}


def dense_note(scope: str, mask: Mask) -> str:
    """Return how many matrices ``erk`` has left dense, in one sentence; empty if there are none."""
    dense = [name for name in mask if not mask.pruned_in(name)]
    if scope != "erk" or not dense:
        return ""
    return (
        f"--scope erk keeps all weights of {len(dense)} of {len(mask)} matrices, such as {dense[0]}"
    )


def _prunable_part(mask: Mask, name: str, excluded: Optional[Mask]) -> Matrix:
    """Return the size and extent of a matrix without its protected row and pruned components."""
    if excluded is None or not excluded.pruned_in(name):
        return Matrix.of(mask[name].shape, mask.protected.get(name))
    keep = excluded[name].clone()
    if name in mask.protected:
        keep[mask.protected[name]] = False
    dimensions = range(keep.dim())
    extent = sum(
        int(keep.movedim(dimension, 0).reshape(keep.shape[dimension], -1).any(dim=1).sum())
        for dimension in dimensions
    )
    return Matrix(int(keep.sum()), extent)
