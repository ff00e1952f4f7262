"""Models that heads or FFN units were cut out of: known where they are read, trained nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.structured.kept import parts_in
from fairseq_lottery.structured.layers import refuse_other_layers, refuse_unsaid_cut
from fairseq_lottery.structured.slim import whole_shapes


def is_cut(
    weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any], path: Any
) -> bool:
    """Whether something was cut out of a model.

    Args:
        settings: of the model, whose entry says what was cut.
        architecture: those that shape it.
        path: named in messages.

    Raises:
        LotteryError: the settings do not say it, or something else than the weights.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    try:
        parts = parts_in(settings)
        if parts is not None:
            shapes = whole_shapes(weights, parts)
            refuse_other_layers(shapes, parts.anatomy, architecture)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}") from None
    if parts is None:
        refuse_unsaid_cut(shapes, architecture, path)
    return parts is not None


def refuse_cut(path: Any) -> None:
    """Refuse to train on from a model that something was cut out of."""
    raise LotteryError(
        f"heads or units were cut out of {path}, and training goes on from whole models only;"
        " fairseq-lottery export --to dense gives the model with all of them"
    )
