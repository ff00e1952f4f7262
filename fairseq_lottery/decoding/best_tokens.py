"""The best tokens of each hypothesis, by torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq_lottery.decoding.decoder import TokenRules


def best_tokens(
    features: Sequence[Tensor], outputs: Sequence[Any], rules: TokenRules
) -> tuple[Tensor, Tensor]:
    """Return scores and tokens, as ``Decoder.best_tokens``.

    Logits are in the precision of the model, and probabilities in fp32, as in fairseq. A score that
    is not a number counts as -inf.
    """
    logs = [
        _log_probabilities(output(x), rules.temperature) for x, output in zip(features, outputs)
    ]
    scores = logs[0]
    if len(logs) > 1:
        scores = torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))
    scores.nan_to_num_(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    scores += rules.bonus
    if len(rules.banned[0]):
        scores[rules.banned] = -math.inf
    if rules.forced is not None:
        forced = rules.forced[:, None]
        others = torch.arange(scores.shape[1], device=scores.device) != forced
        scores.masked_fill_(others & forced.ge(0), -math.inf)
    best, tokens = scores.topk(rules.count, dim=1)
    return best, tokens.masked_fill(best.eq(-math.inf), rules.filler)


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    if temperature != 1.0:
        logits = logits / temperature
    return torch.log_softmax(logits, dim=-1, dtype=torch.float32)
