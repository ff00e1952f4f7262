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
    source: Source,
    score: str,
    mask: Mask,
    sparsity: float,
    select: Select,
    rounds: Optional[int],
    excluded: Optional[Mask] = None,
) -> Mask:
    """Return ``mask`` pruned to ``sparsity`` by the synaptic flow of a file's weights.

    The model of a file without the head of its task is that of its pre-training.

    Args:
        excluded: mask of pruned components, whose weights ``sparsity`` and ``select`` exclude.
    """
    with torch.random.fork_rng(devices=[]):
        model = build_untrained(source)
    with matching(source.path):
        parameters_of(model, source.weights, source.adapter)
    untrained = UntrainedModel(model, forward=flow_output, weights=source.weights)
    initial = _initial_sparsity(mask, excluded)
    return find_mask(untrained, score, mask, sparsity, select, rounds, initial)


def _initial_sparsity(mask: Mask, excluded: Optional[Mask]) -> float:
    """Return the sparsity of a mask without its pruned components, for the schedule of rounds."""
    counts = {}
    for name in mask:
        base = excluded.pruned_in(name) if excluded is not None else 0
        counts[name] = (mask.pruned_in(name) - base, mask.size(name) - base)
    pruned, size = (sum(numbers) for numbers in zip(*counts.values()))
    share = pruned / max(size, 1)
    # under scope layer matrices differ by rounding, and no round may be below the highest
    highest = max(part / max(whole, 1) for part, whole in counts.values())
    return highest if highest - share <= 0.01 else share
