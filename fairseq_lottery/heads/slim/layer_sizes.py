"""Whether the layers of a Transformer are as large as its settings say, or something is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats.checkpoints.cut_model import (
    ATTENTION,
    FFN,
    Shapes,
    layer_modules,
    number_in,
)
from fairseq_lottery.heads.components.anatomy import Anatomy


def refuse_other_layers(shapes: Shapes, anatomy: Anatomy, architecture: Mapping[str, Any]) -> None:
    """Refuse a model whose attention or FFNs are not of the sizes in its settings.

    Args:
        anatomy: that something was cut out of, as the settings say it.

    Raises:
        LotteryError: the first such tensor, one that is missing, or other numbers of parts.
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
    """Every tensor of an attention and of an FFN, and its shape, as far as it is known."""
    encoder = number_in(architecture, "encoder_embed_dim")
    for name in layer_modules(ATTENTION, shapes):
        width = number_in(architecture, f"{_side(name)}_embed_dim")
        memory = encoder if name.endswith("encoder_attn") else width
        for part, columns in zip("qkv", (width, memory, memory)):
            yield f"{name}.{part}_proj.weight", (width, columns)
            yield f"{name}.{part}_proj.bias", (width,)
        yield f"{name}.out_proj.weight", (width, width)
        yield f"{name}.out_proj.bias", (width,)
    for name in layer_modules(FFN, shapes):
        side = "encoder" if group_of(f"{name}.fc1.weight") == "enc_ffn" else "decoder"
        width = number_in(architecture, f"{side}_embed_dim")
        inner = number_in(architecture, f"{side}_ffn_embed_dim")
        yield f"{name}.fc1.weight", (inner, width)
        yield f"{name}.fc1.bias", (inner,)
        yield f"{name}.fc2.weight", (width, inner)
        yield f"{name}.fc2.bias", (width,)


def _side(attention: str) -> str:
    return "encoder" if group_of(f"{attention}.out_proj.weight") == "enc_self" else "decoder"
