"""Models that heads or FFN units were cut out of: known where they are read, trained nowhere."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.extensions import components

Shapes = Mapping[str, tuple[int, ...]]

#: setting of a model that says what was cut out of it
CUT = "slim"
ATTENTION = re.compile(r"^(.*\blayers\.\d+\.(?:self_attn|encoder_attn))\.out_proj\.(weight|bias)$")
FFN = re.compile(r"^(.*\blayers\.\d+)\.(fc1\.weight|fc2\.bias)$")


def has_cut(settings: Any) -> bool:
    """Return whether the settings of a model say that something was cut out of it."""
    if isinstance(settings, Namespace):
        return vars(settings).get(CUT) is not None
    return isinstance(settings, Mapping) and CUT in settings and settings[CUT] is not None


def is_cut(
    weights: Mapping[str, Tensor], settings: Any, architecture: Mapping[str, Any], path: Any
) -> bool:
    """Whether something was cut out of a model; refuse settings that say else than its weights.

    Args:
        settings: of the model, whose entry says what was cut.
        architecture: those that shape it.
        path: named in messages.
    """
    if not has_cut(settings):
        shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        refuse_unsaid_cut(shapes, architecture, path)
        return False
    try:
        components().refuse_other_cut(weights, settings, architecture)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}") from None
    return True


def refuse_unsaid_cut(shapes: Shapes, architecture: Mapping[str, Any], path: Any) -> None:
    """Refuse a model that heads or units were cut out of, whose settings do not say so.

    Raises:
        LotteryError: an attention that is not square, an FFN of another size than in the settings,
            or one of both that only its last bias is left of.
    """
    for name in layer_modules(ATTENTION, shapes):
        shape = shapes.get(f"{name}.out_proj.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and shape[0] == shape[1])
    for name in layer_modules(FFN, shapes):
        side = "encoder" if group_of(f"{name}.fc1.weight") == "enc_ffn" else "decoder"
        inner = number_in(architecture, f"{side}_ffn_embed_dim")
        shape = shapes.get(f"{name}.fc1.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and inner in (None, shape[0]))


def _refuse_cut(path: Any, name: str, is_whole: bool) -> None:
    if not is_whole:
        raise LotteryError(
            f"{path} does not say what was cut out of its {name}; export it again with"
            " fairseq-lottery export --to slim"
        )


def refuse_cut(path: Any) -> None:
    """Refuse to train on from a model that something was cut out of."""
    raise LotteryError(
        f"heads or units were cut out of {path}, and training goes on from whole models only;"
        " fairseq-lottery export --to dense gives the model with all of them"
    )


def layer_modules(pattern: re.Pattern[str], shapes: Shapes) -> list[str]:
    """Return the attention modules, or the layers with FFNs, that ``pattern`` finds."""
    return sorted({found.group(1) for found in map(pattern.match, shapes) if found})


def number_in(architecture: Mapping[str, Any], key: str) -> Optional[int]:
    """Return a setting that is an integer, else None."""
    value = architecture.get(key)
    return value if type(value) is int else None
