"""The cut of a model as a setting: text with a character for each component."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import torch

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.files.untrusted_json import read_json
from fairseq_lottery.formats.checkpoints.cut_model import (
    ATTENTION,
    CUT,
    FFN,
    Shapes,
    layer_modules,
    number_in,
)
from fairseq_lottery.heads.components.anatomy import Anatomy, type_of
from fairseq_lottery.heads.components.component_mask import ComponentMask

_KINDS = ("heads", "units")
#: longest setting, about a character per component; the largest Transformers have some 100,000
#: units
_MAX_CHARACTERS = 1 << 22


def read_cut(model: Any) -> ComponentMask:
    """Return which components were cut, from the settings of a model that ``has_cut``.

    Raises:
        LotteryError: the setting is malformed.
    """
    text = vars(model)[CUT] if isinstance(model, Namespace) else model[CUT]
    try:
        kept = read_json(text) if isinstance(text, str) and len(text) <= _MAX_CHARACTERS else None
    except ValueError:
        kept = None
    has_kinds = isinstance(kept, dict) and set(kept) == set(_KINDS)
    if kept is None or not has_kinds or not all(map(_is_kept, kept.values())):
        raise LotteryError(
            "the record of heads and units that were cut out of the checkpoint is malformed; export"
            " the model again with fairseq-lottery export --to slim"
        )
    sizes = ({name: len(characters) for name, characters in kept[kind].items()} for kind in _KINDS)
    masks = {
        kind: {name: torch.tensor([c == "1" for c in text]) for name, text in kept[kind].items()}
        for kind in _KINDS
    }
    return ComponentMask.of(Anatomy(*sizes), masks)


def _is_kept(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(kept, str) and re.fullmatch("[01]+", kept) for kept in value.values()
    )


def encode_cut(components: ComponentMask) -> str:
    """Return the setting that ``read_cut`` reads: 1 for a kept component, 0 for one cut out."""
    kept = {
        kind: {
            n: "".join("01"[one] for one in keep.tolist()) for n, keep in components[kind].items()
        }
        for kind in _KINDS
    }
    return json.dumps(kept)


def refuse_other_layers(shapes: Shapes, anatomy: Anatomy, architecture: Mapping[str, Any]) -> None:
    """Refuse a model whose attention or FFN sizes do not match its settings.

    Args:
        anatomy: anatomy of the model before the cut, from the settings.
    """
    for name, count in anatomy.heads.items():
        if number_in(architecture, f"{_side(name)}_attention_heads") not in (None, count):
            raise LotteryError(f"the model has no attention {name} of {count} heads")
    for name, count in anatomy.units.items():
        if shapes.get(f"{name}.fc1.bias") != (count,):
            raise LotteryError(f"the model has no FFN {name} of {count} units")
    for name, expected in _expected(shapes, architecture):
        shape = shapes.get(name, ())
        same_rank = len(shape) == len(expected)
        if not same_rank or not all(e in (None, s) for e, s in zip(expected, shape)):
            raise LotteryError(
                f"{name} has shape {tuple(shape)}, expected {expected} by the settings of the cut"
                " model"
            )


def _expected(
    shapes: Shapes, architecture: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Optional[int], ...]]]:
    """Yield each tensor of attention modules and FFNs with its shape; None for unknown sizes."""
    encoder = number_in(architecture, "encoder_embed_dim")
    for name in layer_modules(ATTENTION, shapes):
        width = number_in(architecture, f"{_side(name)}_embed_dim")
        memory = encoder if name.endswith("encoder_attn") else width
        for projection, columns in (("q", width), ("k", memory), ("v", memory), ("out", width)):
            yield f"{name}.{projection}_proj.weight", (width, columns)
            yield f"{name}.{projection}_proj.bias", (width,)
    for name in layer_modules(FFN, shapes):
        width, inner = (
            number_in(architecture, f"{_side(name)}_{key}")
            for key in ("embed_dim", "ffn_embed_dim")
        )
        yield f"{name}.fc1.weight", (inner, width)
        yield f"{name}.fc1.bias", (inner,)
        yield f"{name}.fc2.weight", (width, inner)
        yield f"{name}.fc2.bias", (width,)


def _side(module: str) -> str:
    """Return the side of an attention module or a layer with an FFN: encoder or decoder."""
    return "encoder" if type_of(module) in ("enc_self", "enc_ffn") else "decoder"
