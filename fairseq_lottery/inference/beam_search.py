"""What fairseq's own beam search makes of sentences, and how close its decisions were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from fairseq.data import Dictionary, data_utils
from fairseq.search import BeamSearch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

BEAM = 5
#: of a translation in tokens, fairseq's own default
LIMIT = 200
#: sentences at once on a CPU, and on a GPU, which would wait for so few
BATCH, _MANY = 16, 128


@dataclass(frozen=True)
class Translation:
    """A sentence as fairseq translates it.

    Attributes:
        tokens: without ``</s>``.
        log_probs: of each token, and of ``</s>``.
        slack: the least error of a token's log-probability that may have turned the search.
    """

    tokens: list[str]
    log_probs: list[float]
    slack: float


class _Watched(BeamSearch):
    """Beam search that remembers, for each sentence, how close its closest decision was.

    Args:
        shares: whether tokens that may be selected share the probability of those that may not.
    """

    def __init__(
        self, dictionary: Dictionary, sentences: int, shares: bool, device: torch.device
    ) -> None:
        super().__init__(dictionary)
        self.shares = shares
        self.slack = torch.full((sentences,), math.inf, device=device)

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As fairseq's: scores, tokens and beams of the candidates, the best first."""
        if self.shares:
            lprobs = lprobs - lprobs.logsumexp(dim=2, keepdim=True)
        found = super().step(step, lprobs, scores, prev_output_tokens, original_batch_idxs)
        # both are sums over step + 1 tokens, whose errors add up like a random walk
        slack = _margin(found[0], found[1] == self.eos, lprobs.shape[1]) / (2 * (step + 1) ** 0.5)
        self.slack[original_batch_idxs] = self.slack[original_batch_idxs].minimum(slack)
        return found


def _margin(scores: Tensor, ends: Tensor, beam: int) -> Tensor:
    """By how much the candidates that a step keeps are better than those that it drops.

    It finishes those with ``</s>`` among the first ``beam``, and goes on with the first ``beam``
    without. The order among them makes no difference.

    Args:
        scores: (sentences, candidates), the best first.
        ends: whether a candidate ends with ``</s>``.
    """
    never = torch.full_like(scores, math.inf)
    inside = (scores - scores[:, beam : beam + 1]).where(ends, never)[:, :beam]
    outside = (scores[:, beam - 1 : beam] - scores).where(ends, never)[:, beam:]
    place = (~ends).cumsum(dim=1)
    last = scores.where(~ends & (place == beam), never).min(dim=1).values
    next_one = scores.where(~ends & (place == beam + 1), -never).max(dim=1).values
    margins = torch.cat([inside, outside, (last - next_one)[:, None]], dim=1)
    return margins.nan_to_num(nan=math.inf, posinf=math.inf).min(dim=1).values  # -inf less -inf


def translate_with_fairseq(
    model: Any,
    source: Dictionary,
    target: Dictionary,
    sentences: Sequence[Sequence[str]],
    shares: bool = False,
) -> list[Translation]:
    """Translate with fairseq's own beam search, as ``fairseq-generate --beam 5`` does.

    Args:
        model: fairseq's, in evaluation mode; it translates where its weights are.
        sentences: as symbols of ``source``, without ``</s>``.
        shares: whether to follow CTranslate2's rule for tokens that may not be selected.
    """
    done: dict[int, Translation] = {}
    device = next(model.parameters()).device
    size = BATCH if device.type == "cpu" else _MANY
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        ids = [
            torch.tensor([*map(source.index, sentences[number]), source.eos()])
            for number in numbers
        ]
        search = _Watched(target, len(numbers), shares, device)
        generator = SequenceGenerator(
            [model], target, beam_size=BEAM, max_len_b=LIMIT, search_strategy=search
        )
        tokens = data_utils.collate_tokens(ids, source.pad(), left_pad=True).to(device)
        lengths = torch.tensor([len(one) for one in ids], device=device)
        with torch.no_grad():
            found = generator.generate(
                [model], {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
            )
        for place, number in enumerate(numbers):
            hypotheses = found[place]
            best = hypotheses[0]
            # the last decision is between those that are finished, divided by their lengths
            lead = float(best["score"] - hypotheses[1]["score"]) if hypotheses[1:] else math.inf
            done[number] = Translation(
                [target[index] for index in best["tokens"].tolist()[:-1]],
                best["positional_scores"].tolist(),
                min(float(search.slack[place]), lead / 2),
            )
    return [done[number] for number in range(len(sentences))]
