"""A CTranslate2 model without the heads and units that contribute nothing.

CTranslate2 stores one number of heads for the whole encoder and one for the whole decoder, for both
kinds of its attention. So each side gets the largest number that one of its attention modules
keeps, and heads of zeros fill up the others. The width of a head is stored, so it may differ from
the model's width divided by the number of heads. The number of FFN units may differ between layers;
a layer without any keeps one of zeros.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from torch import Tensor

from fairseq_lottery.heads.components.component_mask import ComponentMask

logger = logging.getLogger(__name__)


def narrow(spec: Any, components: ComponentMask) -> None:
    """Cut pruned heads and units out of a specification, in place; log heads of zeros."""
    own = {"self_attn": "self_attention"}
    for side, attributes in (("encoder", own), ("decoder", {**own, "encoder_attn": "attention"})):
        stack = getattr(spec, side)
        attentions = [
            (layer, attribute, components["heads"][f"{side}.layers.{number}.{name}"])
            for number, layer in enumerate(stack.layer)
            for name, attribute in attributes.items()
        ]
        kept = [int(keep.sum()) for *_, keep in attentions]
        most = max(1, *kept)
        for layer, attribute, keep in attentions:
            full = getattr(layer, attribute)
            setattr(layer, attribute, _narrowed_attention(full, keep, most))
        stack.num_heads = np.int16(most)
        if sum(kept) < most * len(kept):
            logger.warning(
                "CTranslate2 has one number of heads for the whole %s: %d heads of zeros fill up"
                " its %d to %d in each of %d attentions",
                *(side, most * len(kept) - sum(kept), sum(kept), most, len(kept)),
            )
        for number, layer in enumerate(stack.layer):
            _narrow_ffn(layer.ffn, components.kept_units(f"{side}.layers.{number}"))


def _narrowed_attention(attention: Any, keep: Tensor, heads: int) -> Any:
    """Return an attention module with the kept heads, and zeros up to ``heads``."""
    from ctranslate2.specs import attention_spec

    width = attention.linear[-1].weight.shape[1] // keep.numel()
    spec = attention_spec.MultiHeadAttentionSpec(len(attention.linear) == 2, head_dim=width)
    spec.layer_norm, spec.linear = attention.layer_norm, attention.linear
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
    """Cut an FFN to its kept units, or one of zeros, in place."""
    rows, fill = keep.numpy(), int(not keep.any())
    spec.linear_0.weight = _padded(spec.linear_0.weight[rows], 0, fill)
    spec.linear_0.bias = _padded(spec.linear_0.bias[rows], 0, fill)
    spec.linear_1.weight = _padded(spec.linear_1.weight[:, rows], 1, fill)


def _padded(values: Any, dim: int, zeros: int) -> Any:
    widths = [(0, zeros if dim == d else 0) for d in range(values.ndim)]
    return np.ascontiguousarray(np.pad(values, widths))
