"""Recognise and refuse models that heads or FFN units were cut out of."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components
from fairseq_lottery.formats.checkpoints.settings import CUT, Settings
from fairseq_lottery.masks import shapes_of

Shapes = Mapping[str, tuple[int, ...]]

ATTENTION = re.compile(r"^(.*\blayers\.\d+\.(?:self_attn|encoder_attn))\.out_proj\.(weight|bias)$")
FFN = re.compile(r"^(.*\blayers\.\d+)\.(fc1\.weight|fc2\.bias)$")


def has_cut(settings: Any) -> bool:
    """Return whether the settings of a model declare a cut."""
    if isinstance(settings, Namespace):
        return vars(settings).get(CUT) is not None
    return isinstance(settings, Mapping) and CUT in settings and settings[CUT] is not None


def is_cut(weights: Mapping[str, Tensor], settings: Settings, path: Any) -> bool:
    """Return whether a model was cut; refuse settings that do not match its weights.

    Args:
        settings: settings of the checkpoint; those of the model declare the cut.
        path: path for messages.
    """
    if not has_cut(settings.model):
        shapes = shapes_of(weights)
        refuse_undeclared_cut(shapes, settings.architecture, path)
        return False
    try:
        components().refuse_other_cut(weights, settings.model, settings.architecture)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}") from None
    return True


def refuse_undeclared_cut(shapes: Shapes, architecture: Mapping[str, Any], path: Any) -> None:
    """Refuse a cut model whose settings do not declare the cut.

    Raises:
        LotteryError: an attention matrix is not square or missing, or an FFN is missing or has
            another size than in the settings.
    """
    for name in layer_modules(ATTENTION, shapes):
        shape = shapes.get(f"{name}.out_proj.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and shape[0] == shape[1])
    for name in layer_modules(FFN, shapes):
        side = "encoder" if group_of(f"{name}.fc1.weight") == "enc_ffn" else "decoder"
        inner = number_in(architecture, f"{side}_ffn_embed_dim")
        shape = shapes.get(f"{name}.fc1.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and inner in (None, shape[0]))


def _refuse_cut(path: Any, name: str, is_complete: bool) -> None:
    if not is_complete:
        raise LotteryError(
            f"{name} in {path} was cut, but the model's settings do not declare this; export it"
            " again with fairseq-lottery export --to slim"
        )


def refuse_cut(path: Any) -> None:
    """Refuse to train a model that was cut."""
    raise LotteryError(
        f"heads or FFN units were cut out of {path}, so it cannot be trained; restore them with"
        " fairseq-lottery export --to dense"
    )


def layer_modules(pattern: re.Pattern[str], shapes: Shapes) -> list[str]:
    """Return the attention modules, or the layers with FFNs, that match ``pattern``."""
    return sorted({match.group(1) for match in map(pattern.match, shapes) if match})


def number_in(architecture: Mapping[str, Any], key: str) -> Optional[int]:
    """Return a setting if it is an integer, else None."""
    value = architecture.get(key)
    return value if type(value) is int else None
