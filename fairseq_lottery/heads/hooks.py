"""What heads and FFN units do in the rooms below: ``fairseq_lottery.extensions.Components``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.source import Source
from fairseq_lottery.heads.closing.closed_draw import close as close
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.gates.learned_gates import learned_in
from fairseq_lottery.heads.slim import ctranslate2_heads, cutting
from fairseq_lottery.heads.slim.cut_settings import parts_in, refuse_other_layers


def problem_of_gates(source: Source, state: Any) -> Optional[str]:
    """What is wrong with gates that a training has learned, or is learning."""
    try:
        learned_in(state, Anatomy.of(source.shapes, source.architecture))
    except LotteryError as error:
        return str(error)
    return None


def refuse_other_cut(
    weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any]
) -> None:
    """Refuse weights that are not what the settings say."""
    parts = parts_in(settings)
    refuse_other_layers(cutting.whole_shapes(weights, parts), parts.anatomy, architecture)


def whole_weights(weights: Mapping[str, Tensor], settings: Any) -> dict[str, Tensor]:
    """The weights with zeros in the old places."""
    return cutting.with_zeros(weights, parts_in(settings))


def cut_model(model: nn.Module, settings: Any) -> None:
    """Cut heads and units out of a model of fairseq, in place."""
    cutting.cut(model, parts_in(settings))


def refuse_other_model(model: nn.Module, settings: Any) -> None:
    """Refuse settings that are not of this model."""
    cutting.refuse_other(model, parts_in(settings))


def narrow(spec: Any, settings: Any) -> None:
    """Cut heads and units out of a model of CTranslate2, in place."""
    ctranslate2_heads.narrow(spec, parts_in(settings))


def whole_checkpoint(state: Mapping[str, Any], path: Any) -> dict[str, Any]:
    """A plain checkpoint with zeros in the old places."""
    from fairseq_lottery.heads.slim.slim_checkpoint import whole

    return whole(state, path)


def slim_checkpoint(state: Mapping[str, Any], path: Any) -> tuple[dict[str, Any], Any]:
    """A plain checkpoint without the heads and units that contribute nothing."""
    from fairseq_lottery.heads.slim.slim_checkpoint import slimmed

    return slimmed(state, path)
