"""What was cut out of a model, as its settings say it: text with a character for every part."""

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
from fairseq_lottery.heads.components.parts import Parts

_KINDS = ("heads", "units")
#: characters of the setting, about one a part; the largest Transformers have some 100,000 units
_MOST = 1 << 22


def parts_in(model: Any) -> Parts:
    """Return what was cut, by the settings of a model that ``has_cut``.

    Raises:
        LotteryError: the setting is none of ours.
    """
    text = vars(model)[CUT] if isinstance(model, Namespace) else model[CUT]
    try:
        kept = read_json(text) if isinstance(text, str) and len(text) <= _MOST else None
    except ValueError:
        kept = None
    is_ours = isinstance(kept, dict) and set(kept) == set(_KINDS)
    if kept is None or not is_ours or not all(map(_is_kept, kept.values())):
        raise LotteryError(
            "the checkpoint does not say which heads and units were cut out of it; export it again"
            " with fairseq-lottery export --to slim"
        )
    sizes = ({name: len(characters) for name, characters in kept[kind].items()} for kind in _KINDS)
    opened = {
        kind: {name: torch.tensor([c == "1" for c in given]) for name, given in kept[kind].items()}
        for kind in _KINDS
    }
    return Parts.of(Anatomy(*sizes), opened)


def _is_kept(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(kept, str) and re.fullmatch("[01]+", kept) for kept in found.values()
    )


def kept_text(parts: Parts) -> str:
    """Return the inverse of ``parts_in``: what is open stays."""
    kept = {
        kind: {n: "".join("01"[one] for one in keep.tolist()) for n, keep in parts[kind].items()}
        for kind in _KINDS
    }
    return json.dumps(kept)


def refuse_other_layers(shapes: Shapes, anatomy: Anatomy, architecture: Mapping[str, Any]) -> None:
    """Refuse a model whose attention or FFNs are not of the sizes in its settings.

    Args:
        anatomy: that something was cut out of, as the settings say it.
    """
    for name, count in anatomy.heads.items():
        if number_in(architecture, f"{_side(name)}_attention_heads") not in (None, count):
            raise LotteryError(f"the model has no attention {name} of {count} heads")
    for name, count in anatomy.units.items():
        if shapes.get(f"{name}.fc1.bias") != (count,):
            raise LotteryError(f"the model has no FFN {name} of {count} units")
    for name, wanted in _expected(shapes, architecture):
        shape = shapes.get(name, ())
        fits = len(shape) == len(wanted) and all(w in (None, s) for w, s in zip(wanted, shape))
        if not fits:
            raise LotteryError(f"{name} has not the size that the cut model's settings say")


def _expected(
    shapes: Shapes, architecture: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Optional[int], ...]]]:
    """Yield every tensor of an attention and of an FFN, and its shape, as far as it is known."""
    encoder = number_in(architecture, "encoder_embed_dim")
    for name in layer_modules(ATTENTION, shapes):
        width = number_in(architecture, f"{_side(name)}_embed_dim")
        memory = encoder if name.endswith("encoder_attn") else width
        for part, columns in (("q", width), ("k", memory), ("v", memory), ("out", width)):
            yield f"{name}.{part}_proj.weight", (width, columns)
            yield f"{name}.{part}_proj.bias", (width,)
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
    """Return whether an attention, or a layer with an FFN, is of the encoder or of the decoder."""
    return "encoder" if type_of(module) in ("enc_self", "enc_ffn") else "decoder"
