"""Attention weights of every head, and its confidence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.inference.attention_weights import watched_heads


def attention_of(
    model: nn.Module, anatomy: Anatomy, batch: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a model on one of fairseq's batches.

    Returns:
        Module -> attention weights of its heads, (heads, batch, queries, keys); and ``encoder``,
        and ``decoder`` if the model has one, -> its input tokens, (batch, time).
    """
    weights: dict[str, Tensor] = {}
    inputs = batch["net_input"]
    with watched_heads(model, anatomy.heads, weights.__setitem__), torch.no_grad():
        model(**inputs)
    previous: Optional[Tensor] = inputs.get("prev_output_tokens")
    decoder = {} if previous is None else {"decoder": previous}
    return weights, {"encoder": inputs["src_tokens"], **decoder}


def mean_over_queries(anatomy: Anatomy, rows: Iterable[tuple[str, Tensor, Tensor]]) -> Scores:
    """Return the mean over query tokens of a number that each head has at each of them.

    Args:
        rows: module, numbers (heads, batch, queries), and which queries count (batch, queries).
    """
    totals = {n: torch.zeros(size, dtype=torch.float64) for n, size in anatomy.heads.items()}
    counts = dict.fromkeys(anatomy.heads, 0)
    for name, numbers, real in rows:
        totals[name] += numbers[:, real].double().sum(dim=1).cpu()
        counts[name] += int(real.sum())
    if not any(counts.values()):
        raise LotteryError("there are no examples to measure attention on")
    return {"heads": {name: totals[name] / max(counts[name], 1) for name in totals}}


def confidence(
    model: nn.Module, anatomy: Anatomy, batches: Iterable[Any], ignored: Collection[int]
) -> Scores:
    """Return the mean over query tokens of a head's largest attention weight.

    It is the confidence of Voita et al. 2019, section 4. Queries and keys that are ``<s>`` or
    ``</s>`` do not count, including the first ones of fairseq's decoder inputs; nor do queries that
    attend to no other key.

    Args:
        ignored: numbers of ``<s>``, ``</s>`` and padding.

    Raises:
        LotteryError: there are no examples, or a decoder attends to source and target at once.
    """

    def largest() -> Iterator[tuple[str, Tensor, Tensor]]:
        for batch in batches:
            latest, tokens = attention_of(model, anatomy, batch)
            real = {side: _is_none_of(one, ignored) for side, one in tokens.items()}
            for name, weights in latest.items():
                queries = real[name.partition(".")[0]]
                keys = real["encoder"] if name.endswith("encoder_attn") else queries
                if weights.shape[-1] != keys.shape[-1]:
                    raise LotteryError(
                        f"{name} attends to source and target at once (--cross-self-attention),"
                        " for which confidence is not defined; choose another --measure"
                    )
                best = weights.masked_fill(~keys[None, :, None, :], 0).amax(dim=-1)
                yield name, best, queries & (best > 0).any(dim=0)

    return mean_over_queries(anatomy, largest())


def _is_none_of(tokens: Tensor, ignored: Collection[int]) -> Tensor:
    return torch.stack([tokens != number for number in ignored]).all(dim=0)
