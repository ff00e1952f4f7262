"""The mask of a run that ranks its weights before the first update."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable

from torch import Tensor, nn

from fairseq_lottery.inference.flow_output import flow_output
from fairseq_lottery.masks import Mask, PrunerInput
from fairseq_lottery.masks.pruners import Gradual
from fairseq_lottery.saliency import SALIENCIES, UntrainedModel, find_mask
from fairseq_lottery.training.processes.ranks import add_over_processes
from fairseq_lottery.training.pruning_steps import PruningSteps

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingExamples:
    """Batches of the training set, and their loss.

    Attributes:
        batches: batches of this process, which can be iterated several times.
        count: number of batches of all processes.
        loss: (model, batch) -> summed loss of the run's criterion.
    """

    batches: Iterable[Any]
    count: int
    loss: Callable[[nn.Module, Any], Tensor]


#: (number of batches, seed, whether each example becomes a batch) -> examples
ExampleMaker = Callable[[int, int, bool], TrainingExamples]


def find_start_mask(
    pruning: PruningSteps,
    model: nn.Module,
    weights: Mapping[str, Tensor],
    examples: ExampleMaker,
    inputs: PrunerInput,
) -> Mask:
    """Return the mask of the first pruning step, from scores of the model before any update.

    Args:
        weights: name -> parameter as the optimizer has it, in fp32 for a half-precision run.
        examples: draws batches.
    """
    assert isinstance(pruning.pruner, Gradual)
    saliency = SALIENCIES[pruning.score]
    untrained = UntrainedModel(
        model, forward=flow_output, weights=weights, total=add_over_processes
    )
    if saliency.needs_data:
        some = examples(pruning.batches, pruning.seed, saliency.reads_inputs)
        untrained = replace(untrained, batches=some.batches, loss=some.loss)
        logger.info("score %s is summed over %d batches", pruning.score, some.count)
    return find_mask(
        untrained,
        pruning.score,
        inputs.mask,
        pruning.pruner.sparsity_at(inputs.update),
        lambda scores, mask, sparsity: replace(inputs, mask=mask).select(scores, sparsity),
        pruning.rounds,
        pruning.pruner.initial,
    )
