"""The best tokens of each hypothesis, by torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor


def best_tokens(
    features: Sequence[Tensor],
    outputs: Sequence[Any],
    temperature: float,
    bonus: Tensor,
    forced: Optional[Tensor],
    banned: tuple[Tensor, Tensor],
    count: int,
    filler: int,
) -> tuple[Tensor, Tensor]:
    """Return scores and tokens, as ``Decoder.best_tokens``.

    Logits are in the precision of the model, and probabilities in fp32, as in fairseq. A score that
    is not a number counts as -inf.
    """
    logs = [_log_probabilities(output(x), temperature) for x, output in zip(features, outputs)]
    scores = logs[0]
    if len(logs) > 1:
        scores = torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))
    scores.nan_to_num_(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    scores += bonus
    if len(banned[0]):
        scores[banned] = -math.inf
    if forced is not None:
        others = torch.arange(scores.shape[1], device=scores.device) != forced[:, None]
        scores.masked_fill_(others & forced.ge(0)[:, None], -math.inf)
    best, tokens = scores.topk(count, dim=1)
    return best, tokens.masked_fill(best.eq(-math.inf), filler)


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    if temperature != 1.0:
        logits = logits / temperature
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32)
