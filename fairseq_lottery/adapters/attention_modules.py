"""Attention modules of fairseq's Transformer: their heads, and the tensors of a head.

The workflow plans with these names, so this module does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fairseq_lottery.adapters.parameter_groups import group_of
from fairseq_lottery.errors import LotteryError

#: groups of parameters that are attention
ATTENTIONS = ("enc_self", "dec_self", "enc_dec")

_ATTENTION = re.compile(r"^(.*\blayers\.\d+\.(self_attn|encoder_attn))\.out_proj\.weight$")
_LAYER = re.compile(r"\blayers\.(\d{1,6})\b")


def layer_of(name: str) -> int:
    """Return the number of the layer, from 0, that an attention module or FFN is in."""
    match = _LAYER.search(name)
    if match is None:
        raise LotteryError(f"{name!r} is not in a layer of a Transformer")
    return int(match.group(1))


def tensors_of_heads(module: str) -> Iterator[tuple[str, int]]:
    """Yield the tensors with parameters of single heads, and the dimension that heads divide.

    The rows of the query, key and value matrices and the columns of the output projection are
    divided into one block for each head. The bias of the output projection belongs to no head.
    """
    for projection in ("q_proj", "k_proj", "v_proj"):
        yield f"{module}.{projection}.weight", 0
        yield f"{module}.{projection}.bias", 0
    yield f"{module}.out_proj.weight", 1


def head_counts(
    shapes: Mapping[str, tuple[int, ...]], architecture: Mapping[str, Any]
) -> dict[str, int]:
    """Return the number of heads of each attention module, in the order of the parameters.

    Args:
        shapes: name -> shape of every parameter.
        architecture: has ``encoder_attention_heads`` and ``decoder_attention_heads`` for the sides
            that have layers.

    Raises:
        LotteryError: heads were cut out of a module, or ``architecture`` lacks their number.
    """
    heads = {}
    for name, shape in shapes.items():
        attention = _ATTENTION.match(name)
        if attention is None:
            continue
        module = attention.group(1)
        side = "encoder" if group_of(name) == "enc_self" else "decoder"
        count, width = architecture.get(f"{side}_attention_heads"), shape[1]
        if shape[0] != width:
            raise LotteryError(
                f"heads were cut out of {module}; restore them with fairseq-lottery export"
                " --to dense"
            )
        if type(count) is not int or count < 1 or width % count:
            raise LotteryError(
                f"the number of heads of {module} is unknown ({side}_attention_heads is"
                f" {count!r}, the width is {width})"
            )
        heads[module] = count
    return heads
