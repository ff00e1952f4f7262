"""Closed heads and FFN units in a draw: their weights leave the mask, their biases the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import Mask
from fairseq_lottery.structured import (
    KINDS,
    Anatomy,
    Parts,
    clear_biases,
    closed_in,
    load_parts,
    pruned_by,
    restrict,
)
from fairseq_lottery.tickets.sources import Source

Record = dict[str, Any]


def anatomy_of(source: Source) -> Anatomy:
    """The heads and FFN units of the model in a file.

    Raises:
        LotteryError: it has none, or does not say how many heads there are.
    """
    try:
        return Anatomy.of(source.shapes, source.architecture)
    except LotteryError as error:
        raise LotteryError(f"{source.path}: {error}") from None


def close(mask: Mask, source: Source, path: Optional[str]) -> tuple[Mask, Optional[Parts], Record]:
    """``mask`` without what a file of parts closes, the parts, and what the record says of them.

    Without a file, the parts are the heads that attend evenly in ``source`` already, if any.

    Raises:
        LotteryError: the file is none, or of another model; a part lies where nothing is prunable.
    """
    if path is None:
        return mask, _even_heads(source), {}
    parts, made = load_parts(path)
    if parts.anatomy != anatomy_of(source):
        raise LotteryError(
            f"--parts {path} is of a model with other heads or FFN units than {source.path}"
        )
    counts = {kind: [parts.count_closed(kind), parts.count(kind)] for kind in KINDS}
    weights = sum(int((~keep).sum()) for keep in pruned_by(parts, source.shapes).values())
    said = {
        "mode": parts.mode,
        "digest": parts.digest(),
        "closed": counts,
        "weights": weights,
        "made": made,
    }
    return restrict(mask, parts, source.shapes), parts, {"parts": said}


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


def without_biases(values: Mapping[str, Tensor], parts: Optional[Parts]) -> dict[str, Tensor]:
    """``values`` with the biases of closed parts at zero; with them, heads would not stay even."""
    if parts is None:
        return dict(values)
    changed = {name: value.clone() for name, value in values.items()}
    clear_biases(changed, parts)
    return changed
