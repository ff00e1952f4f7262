"""Whether the layers of a Transformer are as large as its settings say, or something is gone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.masks import group_of
from fairseq_lottery.structured.anatomy import Anatomy

Shapes = Mapping[str, tuple[int, ...]]

_ATTENTION = re.compile(r"^(.*\blayers\.\d+\.(?:self_attn|encoder_attn))\.out_proj\.(weight|bias)$")
_FFN = re.compile(r"^(.*\blayers\.\d+)\.(fc1\.weight|fc2\.bias)$")


def refuse_other_layers(shapes: Shapes, anatomy: Anatomy, architecture: Mapping[str, Any]) -> None:
    """Refuse a model whose attention or FFNs are not of the sizes in its settings.

    Args:
        anatomy: that something was cut out of, as the settings say it.

    Raises:
        LotteryError: the first such tensor, one that is missing, or other numbers of parts.
    """
    for name, count in anatomy.heads.items():
        if _number(architecture, f"{_side(name)}_attention_heads") not in (None, count):
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
    encoder = _number(architecture, "encoder_embed_dim")
    for name in _modules(_ATTENTION, shapes):
        width = _number(architecture, f"{_side(name)}_embed_dim")
        memory = encoder if name.endswith("encoder_attn") else width
        for part, columns in zip("qkv", (width, memory, memory)):
            yield f"{name}.{part}_proj.weight", (width, columns)
            yield f"{name}.{part}_proj.bias", (width,)
        yield f"{name}.out_proj.weight", (width, width)
        yield f"{name}.out_proj.bias", (width,)
    for name in _modules(_FFN, shapes):
        side = "encoder" if group_of(f"{name}.fc1.weight") == "enc_ffn" else "decoder"
        width = _number(architecture, f"{side}_embed_dim")
        inner = _number(architecture, f"{side}_ffn_embed_dim")
        yield f"{name}.fc1.weight", (inner, width)
        yield f"{name}.fc1.bias", (inner,)
        yield f"{name}.fc2.weight", (width, inner)
        yield f"{name}.fc2.bias", (width,)


def refuse_unsaid_cut(shapes: Shapes, architecture: Mapping[str, Any], path: Any) -> None:
    """Refuse a model that heads or units were cut out of, whose settings do not say so.

    Raises:
        LotteryError: an attention that is not square, an FFN of another size than in the settings,
            or one of both that only its last bias is left of.
    """
    for name in _modules(_ATTENTION, shapes):
        shape = shapes.get(f"{name}.out_proj.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and shape[0] == shape[1])
    for name in _modules(_FFN, shapes):
        side = "encoder" if group_of(f"{name}.fc1.weight") == "enc_ffn" else "decoder"
        inner = _number(architecture, f"{side}_ffn_embed_dim")
        shape = shapes.get(f"{name}.fc1.weight", ())
        _refuse_cut(path, name, len(shape) == 2 and inner in (None, shape[0]))


def _refuse_cut(path: Any, name: str, is_whole: bool) -> None:
    if not is_whole:
        raise LotteryError(
            f"{path} does not say what was cut out of its {name}; export it again with"
            " fairseq-lottery export --to slim"
        )


def _modules(pattern: re.Pattern[str], shapes: Shapes) -> list[str]:
    return sorted({found.group(1) for found in map(pattern.match, shapes) if found})


def _side(attention: str) -> str:
    return "encoder" if group_of(f"{attention}.out_proj.weight") == "enc_self" else "decoder"


def _number(architecture: Mapping[str, Any], key: str) -> Optional[int]:
    value = architecture.get(key)
    return value if type(value) is int else None
