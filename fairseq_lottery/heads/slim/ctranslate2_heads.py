"""A CTranslate2 model of uneven heads, without those and units that contribute nothing.

An attention's heads are its weights' rows over one number of heads for the whole encoder and one
for the whole decoder, where self-attention and attention to the encoder share it. So each side
gets as many as its fullest attention has left, and heads of zeros fill the others up. The width of
a head is stored, so it need not be the model's width over their number. FFN units may differ from
layer to layer; a layer without any keeps one of zeros.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import Tensor

from fairseq_lottery.heads.components.parts import Parts

logger = logging.getLogger(__name__)


def narrow(spec: Any, parts: Parts) -> None:
    """Cut closed heads and units out of a specification, in place; logs what had to stay."""
    sides = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}
    for side, attentions in sides.items():
        stack = getattr(spec, side)
        names = [
            f"{side}.layers.{n}.{attention}"
            for n in range(len(stack.layer))
            for attention in attentions
        ]
        kept = [int(parts["heads"][name].sum()) for name in names]
        most = max(1, *kept)
        for name in names:
            layer = stack.layer[int(name.split(".")[2])]
            attribute = "attention" if name.endswith("encoder_attn") else "self_attention"
            whole = getattr(layer, attribute)
            setattr(layer, attribute, _narrowed_attention(whole, parts["heads"][name], most))
        stack.num_heads = np.int16(most)
        if sum(kept) < most * len(kept):
            logger.warning(
                "CTranslate2 has one number of heads for the whole %s: %d heads of zeros fill up"
                " its %d to %d in each of %d attentions",
                *(side, most * len(kept) - sum(kept), sum(kept), most, len(kept)),
            )
        for number, layer in enumerate(stack.layer):
            name = f"{side}.layers.{number}"
            _narrow_ffn(layer.ffn, parts["units"][name] & parts["blocks"][name])


def _narrowed_attention(whole: Any, keep: Tensor, heads: int) -> Any:
    """Its heads that stay, and zeros up to ``heads``."""
    from ctranslate2.specs import attention_spec

    width = whole.linear[-1].weight.shape[1] // keep.numel()
    spec = attention_spec.MultiHeadAttentionSpec(len(whole.linear) == 2, head_dim=width)
    spec.layer_norm, spec.linear = whole.layer_norm, whole.linear
    rows = keep.repeat_interleave(width).numpy()
    fill = heads * width - int(rows.sum())
    for linear in spec.linear[:-1]:  # of queries, keys and values, several in one
        for kind in ("weight", "bias"):
            full = getattr(linear, kind)
            cut = full.reshape(-1, len(rows), *full.shape[1:])[:, rows]
            setattr(linear, kind, _padded(cut, 1, fill).reshape(-1, *full.shape[1:]))
    out = spec.linear[-1]
    out.weight = _padded(out.weight[:, rows], 1, fill)
    return spec


def _narrow_ffn(spec: Any, keep: Tensor) -> None:
    """Its units that stay, at least one."""
    rows, fill = keep.numpy(), int(not keep.any())
    spec.linear_0.weight = _padded(spec.linear_0.weight[rows], 0, fill)
    spec.linear_0.bias = _padded(spec.linear_0.bias[rows], 0, fill)
    spec.linear_1.weight = _padded(spec.linear_1.weight[:, rows], 1, fill)


def _padded(values: Any, dim: int, zeros: int) -> Any:
    widths = [(0, zeros if dim == d else 0) for d in range(values.ndim)]
    return np.ascontiguousarray(np.pad(values, widths))
