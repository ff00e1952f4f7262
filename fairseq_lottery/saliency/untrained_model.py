"""``UntrainedModel``: a module with its loss, batches and inputs, and its statistics and masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask, find_score, score_all
from fairseq_lottery.saliency.gradient_sums import (
    Loss,
    Total,
    sum_gradients,
    sum_hessian_products,
)
from fairseq_lottery.saliency.input_statistics import input_norms, inverse_hessians
from fairseq_lottery.saliency.private_copy import PrivateCopy
from fairseq_lottery.saliency.rounds import SALIENCIES, Select, prune_by_rounds
from fairseq_lottery.saliency.synaptic_flow import flow_scores, make_positive


@dataclass(frozen=True)
class UntrainedModel:
    """A module with the loss, batches and inputs that its statistics need.

    Attributes:
        module: the module, which stays as it is.
        batches: batches of this process, which can be iterated several times.
        loss: (module, batch) -> loss, summed over the examples of the batch.
        forward: computes the outputs of a module for any input without padding, for ``synflow``.
        weights: name -> values that replace those of the module, such as fp32 masters.
        total: adds up a tensor over all processes, in place; None for one process.
    """

    module: nn.Module
    batches: Iterable[Any] = ()
    loss: Optional[Loss] = None
    forward: Optional[Callable[[nn.Module], Tensor]] = None
    weights: Optional[Mapping[str, Tensor]] = None
    total: Optional[Total] = None


#: statistic -> function that computes it over batches
_SUMS = {
    "gradient": sum_gradients,
    "hessian-gradient": sum_hessian_products,
    "input-norm": input_norms,
    "inverse-hessian": inverse_hessians,
}


def sum_statistic(model: UntrainedModel, score: str, mask: Mask) -> dict[str, Tensor]:
    """Return matrix -> the sum over batches that a score reads, of the model under a mask.

    Raises:
        LotteryError: the score needs no data, or the model has no loss or no batches.
    """
    return _summing(model, score, mask)(mask)


def _summing(
    model: UntrainedModel, score: str, names: Iterable[str]
) -> Callable[[Mask], dict[str, Tensor]]:
    saliency = SALIENCIES[score]
    if not saliency.needs_data:
        raise LotteryError(f"score {score} has no sum over batches; use find_mask")
    if model.loss is None:
        raise LotteryError(f"score {score} requires a loss; give the model one")
    add_up = _SUMS[saliency.statistic]
    copy, loss = PrivateCopy(model.module, names, torch.float32, model.weights), model.loss

    def compute(mask: Mask) -> dict[str, Tensor]:
        copy.set_mask(mask)
        return add_up(copy, model.batches, loss, model.total)

    return compute


def _flowing(model: UntrainedModel, names: Iterable[str]) -> Callable[[Mask], Mapping[str, Tensor]]:
    if model.forward is None:
        raise LotteryError("score synflow needs a function that computes the model's outputs")
    copy, forward = PrivateCopy(model.module, names, torch.float64, model.weights), model.forward
    copy.take_magnitudes()
    make_positive(copy.module)

    def compute(mask: Mask) -> Mapping[str, Tensor]:
        copy.set_mask(mask)
        return flow_scores(copy, forward)

    return compute


def find_mask(
    model: UntrainedModel,
    score: str,
    mask: Mask,
    sparsity: float,
    select: Select,
    rounds: Optional[int] = None,
    initial: Optional[float] = None,
) -> Mask:
    """Return ``mask`` pruned to ``sparsity`` by a score; arguments as in ``prune_by_rounds``."""
    scores_under: Callable[[Mask], Mapping[str, Tensor]]
    if SALIENCIES[score].needs_data:
        parameters = {**dict(model.module.named_parameters()), **(model.weights or {})}
        weights = {name: parameters[name].detach() for name in mask if name in parameters}
        compute, function = _summing(model, score, mask), find_score(score)[0]

        def scores_under(current: Mask) -> Mapping[str, Tensor]:
            return score_all(function, weights, gradients=compute(current))
    else:
        scores_under = _flowing(model, mask)
    return prune_by_rounds(score, scores_under, mask, sparsity, select, rounds, initial)
