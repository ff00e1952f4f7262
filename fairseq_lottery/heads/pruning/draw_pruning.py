"""Pruned heads and FFN units in a draw: the mask prunes their weights, their biases are zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.source import Source
from fairseq_lottery.heads.components.anatomy import KINDS, Anatomy
from fairseq_lottery.heads.components.choice_file import load_choice
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import (
    find_pruned,
    restrict,
    weight_masks,
    without_biases,
)
from fairseq_lottery.masks import Mask


def anatomy_of(source: Source) -> Anatomy:
    """Return the heads and FFN units of the model in a file; reject a model without any."""
    try:
        return Anatomy.of(source.shapes, source.architecture)
    except LotteryError as error:
        raise LotteryError(f"{source.path}: {error}") from None


def load_choice_for(source: Source, path: Union[str, Path]) -> tuple[ComponentMask, dict[str, Any]]:
    """Load a choice and its record; reject a choice for another model than ``source``."""
    components, record = load_choice(path)
    if components.anatomy != anatomy_of(source):
        raise LotteryError(
            f"--components {path} is for a model with other heads or FFN units than {source.path}"
        )
    return components, record


@dataclass(frozen=True)
class DrawPruning:
    """Components that a draw prunes: implements ``fairseq_lottery.extensions.ComponentPruning``.

    Attributes:
        mask: mask that prunes the weights of pruned components.
        components: which components are pruned.
        shapes: name -> shape of every parameter.
        record: entries of the ticket's record; empty if the source has pruned the components.
    """

    mask: Mask
    components: ComponentMask
    shapes: Mapping[str, tuple[int, ...]]
    record: Mapping[str, Any]

    def restrict(self, mask: Mask) -> Optional[Mask]:
        """Return ``mask`` without the components that the draw prunes; None if it prunes none."""
        return restrict(mask, self.components, self.shapes) if self.record else None

    def without_biases(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``values`` with the biases of pruned components at zero.

        With a bias, a head without queries and keys would not attend evenly.
        """
        return without_biases(values, self.components)


def prune_draw(mask: Mask, source: Source, path: Optional[str]) -> Optional[DrawPruning]:
    """Prune the choice in ``path``, or the heads of ``source`` that attend evenly already.

    Returns:
        None without a choice and without such heads.

    Raises:
        LotteryError: the choice cannot be read, is for another model, or prunes a component whose
            matrix is not prunable.
    """
    if path is None:
        even = _even_heads(source)
        return DrawPruning(mask, even, source.shapes, {}) if even is not None else None
    components, choice_record = load_choice_for(source, path)
    keep = weight_masks(components, source.shapes)
    record = {
        "mode": components.mode,
        "digest": components.digest(),
        "closed": {kind: [components.count_pruned(kind), components.count(kind)] for kind in KINDS},
        "weights": sum(int((~kept).sum()) for kept in keep.values()),
        "made": choice_record,
    }
    restricted = restrict(mask, components, source.shapes)
    return DrawPruning(restricted, components, source.shapes, {"parts": record})


def _even_heads(source: Source) -> Optional[ComponentMask]:
    """Return heads that were pruned to attend evenly: without queries, keys and their biases."""
    if source.mask is None or not source.is_pruned:
        return None
    try:
        components = find_pruned(source.mask, anatomy_of(source))
    except LotteryError:  # not a Transformer, or its number of heads is unknown
        return None
    cleared = without_biases(source.weights, components)
    same = all(torch.equal(cleared[name], value) for name, value in source.weights.items())
    return components if components.mode == "uniform" and same else None
