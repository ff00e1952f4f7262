"""Implementation of ``fairseq_lottery.extensions.Components`` for heads and FFN units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.source import Source
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.gates.learned_gates import read_gates
from fairseq_lottery.heads.pruning.draw_pruning import prune_draw as prune_draw
from fairseq_lottery.heads.slim import ctranslate2_heads, cutting
from fairseq_lottery.heads.slim.cut_settings import read_cut, refuse_other_layers
from fairseq_lottery.heads.slim.slim_checkpoint import slim_checkpoint as slim_checkpoint
from fairseq_lottery.heads.slim.slim_checkpoint import whole_checkpoint as whole_checkpoint


def problem_of_gates(source: Source, state: Any) -> Optional[str]:
    """Return what is wrong with the learned gates in the state of a criterion, if anything."""
    try:
        read_gates(state, Anatomy.of(source.shapes, source.architecture))
    except LotteryError as error:
        return str(error)
    return None


def refuse_other_cut(
    weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any]
) -> None:
    """Refuse weights whose shapes do not match the settings of their cut model."""
    components = read_cut(settings)
    refuse_other_layers(
        cutting.restored_shapes(weights, components), components.anatomy, architecture
    )


def whole_weights(weights: Mapping[str, Tensor], settings: Any) -> dict[str, Tensor]:
    """Return the weights with zeros where components were cut out."""
    return cutting.with_zeros(weights, read_cut(settings))


def cut_model(model: nn.Module, settings: Any) -> None:
    """Cut heads and units out of a model of fairseq, in place."""
    cutting.cut(model, read_cut(settings))


def refuse_other_model(model: nn.Module, settings: Any) -> None:
    """Refuse settings of another model than ``model``."""
    cutting.refuse_other(model, read_cut(settings))


def narrow(spec: Any, settings: Any) -> None:
    """Cut heads and units out of a model of CTranslate2, in place."""
    ctranslate2_heads.narrow(spec, read_cut(settings))
