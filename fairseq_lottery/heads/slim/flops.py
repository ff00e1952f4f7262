"""How many floating-point operations a token costs."""

from __future__ import annotations

from collections.abc import Mapping

from fairseq_lottery.adapters import group_of
from fairseq_lottery.heads.components.anatomy import ATTENTIONS, FFNS

#: tokens of a sentence where nothing else is said; about a line of news
LENGTH = 25


def flops_per_token(shapes: Mapping[str, tuple[int, ...]], length: int = LENGTH) -> float:
    """Operations for one token of source and one of target, a multiplication and an addition each.

    For source and target of ``length`` tokens and one hypothesis, keys and values kept from step to
    step:

        2 x weights of the attention and FFN matrices of the encoder and of the decoder
        + 2 x vocabulary x width, the output projection
        + 4 x keys x width of all heads, for each attention: scores, and the mean of the values

    Keys are ``length``, but in the decoder's self-attention (length + 1) / 2, the mean over its
    steps. Left out is what grows with the width only: embeddings, biases, norms, softmax. A beam
    multiplies the decoder's share, not the encoder's.

    Args:
        shapes: name -> shape of every parameter, a tied tensor under any of its names.
    """
    total = 0.0
    keys = {"enc_self": length, "dec_self": (length + 1) / 2, "enc_dec": length}
    for name, shape in shapes.items():
        group = group_of(name)
        if len(shape) != 2 or group not in (*ATTENTIONS, *FFNS):
            continue
        total += 2 * shape[0] * shape[1]
        if name.endswith(".out_proj.weight"):
            total += 4 * keys[group] * shape[1]
    output = (
        *("decoder.output_projection.weight", "decoder.embed_tokens.weight"),
        "encoder.embed_tokens.weight",
    )
    rows, width = next((shapes[name] for name in output if name in shapes), (0, 0))
    return total + 2 * rows * width
