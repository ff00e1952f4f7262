"""Closed heads and FFN units in a draw: their weights leave the mask, their biases the values."""

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
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.parts_file import load_parts
from fairseq_lottery.heads.components.pruned_weights import (
    closed_in,
    pruned_by,
    restrict,
    without_biases,
)
from fairseq_lottery.masks import Mask


def anatomy_of(source: Source) -> Anatomy:
    """Return the heads and FFN units of the model in a file; refuses a model without any."""
    try:
        return Anatomy.of(source.shapes, source.architecture)
    except LotteryError as error:
        raise LotteryError(f"{source.path}: {error}") from None


def load_parts_of(source: Source, path: Union[str, Path]) -> tuple[Parts, dict[str, Any]]:
    """Load a choice and its record; refuse one of another model than ``source``."""
    parts, record = load_parts(path)
    if parts.anatomy != anatomy_of(source):
        raise LotteryError(
            f"--parts {path} is of a model with other heads or FFN units than {source.path}"
        )
    return parts, record


@dataclass(frozen=True)
class ClosedDraw:
    """What a draw closes: implements ``fairseq_lottery.extensions.Closing``.

    Attributes:
        mask: without the weights of closed parts.
        parts: which are closed.
        shapes: of every parameter.
        record: entries of the ticket's record; empty if the parts are closed in the source.
    """

    mask: Mask
    parts: Parts
    shapes: Mapping[str, tuple[int, ...]]
    record: Mapping[str, Any]

    def restrict(self, mask: Mask) -> Optional[Mask]:
        """``mask`` without what the draw itself closes; None if it closes nothing."""
        return restrict(mask, self.parts, self.shapes) if self.record else None

    def without_biases(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``values`` with the biases of closed parts at zero; else heads would not stay even."""
        return without_biases(values, self.parts)


def close(mask: Mask, source: Source, path: Optional[str]) -> Optional[ClosedDraw]:
    """What a file of parts closes, or the heads that attend evenly in ``source`` already, if any.

    Raises:
        LotteryError: the file is none, or of another model; a part lies where nothing is prunable.
    """
    if path is None:
        even = _even_heads(source)
        return ClosedDraw(mask, even, source.shapes, {}) if even is not None else None
    parts, made = load_parts_of(source, path)
    keep = pruned_by(parts, source.shapes)
    record = {
        "mode": parts.mode,
        "digest": parts.digest(),
        "closed": {kind: [parts.count_closed(kind), parts.count(kind)] for kind in KINDS},
        "weights": sum(int((~kept).sum()) for kept in keep.values()),
        "made": made,
    }
    closed = restrict(mask, parts, source.shapes)
    return ClosedDraw(closed, parts, source.shapes, {"parts": record})


def _even_heads(source: Source) -> Optional[Parts]:
    """Heads that were closed to attend evenly: no queries, no keys, and no biases of either."""
    if source.mask is None or not source.is_pruned:
        return None
    try:
        closed = closed_in(source.mask, anatomy_of(source))
    except LotteryError:  # no Transformer, or one that does not say its heads
        return None
    cleared = without_biases(source.weights, closed)
    same = all(torch.equal(cleared[name], value) for name, value in source.weights.items())
    return closed if closed.mode == "uniform" and same else None
