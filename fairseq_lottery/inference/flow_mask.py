"""The mask of a score that reads a stored model itself, without data."""

from __future__ import annotations

from typing import Optional

import torch

from fairseq_lottery.formats import Source
from fairseq_lottery.inference.flow_output import flow_output
from fairseq_lottery.inference.loaded_model import matching, parameters_of
from fairseq_lottery.inference.model_builder import build_untrained
from fairseq_lottery.masks import Mask
from fairseq_lottery.saliency import Select, UntrainedModel, find_mask


def find_flow_mask(
    source: Source, score: str, mask: Mask, sparsity: float, select: Select, rounds: Optional[int]
) -> Mask:
    """Return ``mask`` pruned to ``sparsity`` by the synaptic flow of a file's weights.

    The model of a file without the head of its task is that of its pre-training.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_untrained(source)
    with matching(source.path):
        parameters_of(model, source.weights, source.adapter)
    # under scope layer matrices differ by rounding, and no round may be below the highest
    highest = max(mask.sparsity_of(name) for name in mask)
    initial = highest if highest - mask.sparsity <= 0.01 else mask.sparsity
    untrained = UntrainedModel(model, forward=flow_output, weights=source.weights)
    return find_mask(untrained, score, mask, sparsity, select, rounds, initial)
