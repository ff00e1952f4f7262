"""Scores of pruning at initialisation: functions of a weight and of a sum over batches.

``fairseq_lottery.saliency`` computes the sums from a model. ``gradient`` of their input is the
summed gradient, but for ``grasp`` the product of the Hessian with it, for ``synflow`` the
derivative of the flow, and for ``wanda`` and ``sparsegpt`` a statistic of the layer's inputs.
"""

from __future__ import annotations

from torch import Tensor

from fairseq_lottery.masks.score_input import ScoreInput, needs


# tickets store the digest of a score's source, so the text of these functions must not change
@needs("gradient")
def snip(given: ScoreInput) -> Tensor:
    """|w * g|, to first order the change of the loss without the weight: Lee et al. (2019)."""
    assert given.gradient is not None
    return (given.trained * given.gradient).abs()


@needs("gradient")
def force(given: ScoreInput) -> Tensor:
    """|w * g| with the dense weight and the gradient of the pruned model: de Jorge et al. (2021).

    So a pruned weight has a score as well, and can come back in the next round.
    """
    assert given.gradient is not None
    return (given.trained * given.gradient).abs()


@needs("gradient")
def wanda(given: ScoreInput) -> Tensor:
    """|w| * ||x||, with the norm of the input that the weight multiplies: Sun et al. (2023)."""
    assert given.gradient is not None
    return given.trained.abs() * given.gradient


@needs("gradient")
def sparsegpt(given: ScoreInput) -> Tensor:
    """w^2 / [H^-1]_jj, H = X'X: Frantar & Alistarh (2023), without the update of other weights.

    It is the increase of the squared error of the layer's output if the other weights of the row
    could make up for the pruned one.
    """
    assert given.gradient is not None
    return given.trained**2 / given.gradient


@needs("gradient")
def grasp(given: ScoreInput) -> Tensor:
    """w * Hg, with the Hessian H and the gradient g of the loss: Wang et al. (2020).

    They prune the highest values of -w * Hg, whose weights reduce the norm of the gradient.
    """
    assert given.gradient is not None
    return given.trained * given.gradient


@needs("gradient")
def synflow(given: ScoreInput) -> Tensor:
    """|w| * dR/d|w|, the flow R through a weight: Tanaka et al. (2020)."""
    assert given.gradient is not None
    return given.trained.abs() * given.gradient
