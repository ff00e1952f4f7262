"""Translate with fairseq's beam search, and measure how close its decisions are."""

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

from fairseq_lottery.adapters import PairTokens

BEAM = 5
#: longest translation in tokens; fairseq's default
LIMIT = 200
#: sentences in a batch on a CPU and on a GPU
BATCH, _GPU_BATCH = 16, 128


@dataclass(frozen=True)
class Translation:
    """Translation of a sentence by fairseq.

    Attributes:
        tokens: symbols without ``</s>``.
        log_probs: log-probability of each token and of ``</s>``.
        slack: the smallest error of a token's log-probability that could change a decision.
    """

    tokens: list[str]
    log_probs: list[float]
    slack: float


class _BeamSearchWithSlack(BeamSearch):
    """Beam search that records the closest decision for each sentence.

    Args:
        end: number of the symbol that ends a translation.
        renormalize: whether to give the probability of excluded tokens to the other tokens.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        end: int,
        sentences: int,
        renormalize: bool,
        device: torch.device,
    ) -> None:
        super().__init__(dictionary)
        self.renormalize, self.eos = renormalize, end
        self.slack = torch.full((sentences,), math.inf, device=device)

    def step(
        self,
        step: int,
        lprobs: Tensor,
        scores: Optional[Tensor],
        prev_output_tokens: Optional[Tensor] = None,
        original_batch_idxs: Optional[Tensor] = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, tokens and beams of the candidates, the best first, as fairseq does."""
        if self.renormalize:
            lprobs = lprobs - lprobs.logsumexp(dim=2, keepdim=True)
        candidates = super().step(step, lprobs, scores, prev_output_tokens, original_batch_idxs)
        # scores are sums over step + 1 tokens, whose errors add up like a random walk
        margin = _margin(candidates[0], candidates[1] == self.eos, lprobs.shape[1])
        slack = margin / (2 * (step + 1) ** 0.5)
        self.slack[original_batch_idxs] = self.slack[original_batch_idxs].minimum(slack)
        return candidates


def _margin(scores: Tensor, ends: Tensor, beam: int) -> Tensor:
    """Return the smallest lead of a candidate that a step keeps over one that it discards.

    A step finishes the candidates with ``</s>`` among the first ``beam``, and continues with the
    first ``beam`` candidates without ``</s>``. The order within either group does not matter.

    Args:
        scores: (sentences, candidates), the best first.
        ends: whether a candidate ends with ``</s>``.
    """
    never = torch.full_like(scores, math.inf)
    inside = (scores - scores[:, beam : beam + 1]).where(ends, never)[:, :beam]
    outside = (scores[:, beam - 1 : beam] - scores).where(ends, never)[:, beam:]
    rank = (~ends).cumsum(dim=1)
    last_kept = scores.where(~ends & (rank == beam), never).min(dim=1).values
    first_dropped = scores.where(~ends & (rank == beam + 1), -never).max(dim=1).values
    margins = torch.cat([inside, outside, (last_kept - first_dropped)[:, None]], dim=1)
    return margins.nan_to_num(nan=math.inf, posinf=math.inf).min(dim=1).values  # -inf minus -inf


def translate_with_fairseq(
    model: Any,
    source: Dictionary,
    target: Dictionary,
    sentences: Sequence[Sequence[str]],
    renormalize: bool = False,
    tokens: Optional[PairTokens] = None,
) -> list[Translation]:
    """Translate with fairseq's own beam search, as ``fairseq-generate --beam 5`` does.

    Args:
        model: fairseq model in evaluation mode; it translates on the device of its weights.
        sentences: symbols of ``source`` without the last one, which is ``</s>`` unless ``tokens``
            have another.
        renormalize: whether to give the probability of excluded tokens to the other tokens, as
            CTranslate2 does.
        tokens: symbols that the task adds to sentences. A language token before the target is not
            part of a translation.
    """
    tokens = tokens or PairTokens()
    last = source.index(tokens.after.get("source", source.eos_word))
    end = target.index(tokens.after.get("target", target.eos_word))
    # a model whose decoder starts with a language token produces the symbols after it by itself
    first = None if tokens.after else tokens.before.get("target")
    translations: dict[int, Translation] = {}
    device = next(model.parameters()).device
    size = BATCH if device.type == "cpu" else _GPU_BATCH
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    for start in range(0, len(order), size):
        numbers = order[start : start + size]
        ids = [torch.tensor([*map(source.index, sentences[number]), last]) for number in numbers]
        search = _BeamSearchWithSlack(target, end, len(numbers), renormalize, device)
        generator = SequenceGenerator(
            [model], target, beam_size=BEAM, max_len_b=LIMIT, search_strategy=search, eos=end
        )
        prefix = None
        if first is not None:
            prefix = torch.full((len(numbers), 1), target.index(first), device=device)
        padded = data_utils.collate_tokens(ids, source.pad(), left_pad=True).to(device)
        lengths = torch.tensor([len(sentence) for sentence in ids], device=device)
        with torch.no_grad():
            sample = {"net_input": {"src_tokens": padded, "src_lengths": lengths}}
            results = generator.generate([model], sample, prefix_tokens=prefix)
        for row, number in enumerate(numbers):
            hypotheses = results[row]
            best = hypotheses[0]
            # the last decision compares finished hypotheses by score per token
            lead = float(best["score"] - hypotheses[1]["score"]) if hypotheses[1:] else math.inf
            translations[number] = Translation(
                [target[index] for index in best["tokens"].tolist()[first is not None : -1]],
                best["positional_scores"].tolist()[first is not None :],
                min(float(search.slack[row]), lead / 2),
            )
    return [translations[number] for number in range(len(sentences))]
