"""The hypotheses of a batch during beam search, as in fairseq, with faster decoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Optional

import torch
from fairseq.sequence_generator import SequenceGenerator
from torch import Tensor

from fairseq_lottery.compat import source_lengths
from fairseq_lottery.decoding.decoder import Decoder, Session, TokenRules


class Beams:
    """The hypotheses of a batch during a search.

    Rows are hypotheses: those of a sentence are adjacent, ``beam`` of them.

    Attributes:
        tokens: int64, (rows, longest + 2): tokens so far, after the first symbol.
        scores: fp32, (rows, longest + 1): cumulative scores.
        attention: attention to the source of all steps.
        sentences: int64, (sentences that are not finished): their numbers in the batch.
        sentences_of_rows: int64, (rows): those of the rows.
    """

    def __init__(
        self,
        generator: SequenceGenerator,
        decoders: Sequence[Decoder],
        net_input: dict[str, Any],
        sessions: Sequence[Session],
        prefix: Optional[Tensor],
        first: int,
    ) -> None:
        self.generator, self.sessions, self.prefix = generator, sessions, prefix
        self.outputs = [decoder.output for decoder in decoders]
        self.best_tokens = decoders[0].best_tokens
        self.beam = generator.beam_size
        source = net_input["src_tokens"]
        count, self.device = len(source), source.device
        self.lengths: Tensor = source_lengths(generator, net_input).to(self.device)
        self.longest = self._longest(source.shape[1])
        rows = count * self.beam
        self.tokens = torch.full((rows, self.longest + 2), generator.pad, device=self.device)
        self.tokens[:, 0] = first
        self.scores = torch.zeros(rows, self.longest + 1, device=self.device)
        self.attention = _Attention(rows, source.shape[1], self.longest + 1, self.device)
        #: from 0: made once, because each one is a kernel on a GPU
        self.numbers = torch.arange(max(rows, 2 * self.beam), device=self.device)
        self.sentences = self.numbers[:count]
        self.sentences_of_rows = self.sentences.repeat_interleave(self.beam)
        self.is_finished = [False] * count
        self.hypotheses: list[list[dict[str, Tensor]]] = [[] for _ in range(count)]
        self.bonus = _bonus(generator, self.device)

    def _longest(self, source_length: int) -> int:
        """Return the largest number of tokens before the end symbol."""
        generator = self.generator
        longest = min(
            int(generator.max_len_a * source_length + generator.max_len_b), generator.max_len - 1
        )
        if generator.match_source_len:
            longest = int(self.lengths.max())
        # fairseq asserts the same
        assert generator.min_len <= longest, "min_len cannot be larger than max_len; adjust them"
        return longest

    def search(self) -> list[list[dict[str, Tensor]]]:
        """Decode until each sentence has ``beam`` hypotheses, or the longest length is reached."""
        parents = torch.zeros(len(self.tokens), dtype=torch.int64, device=self.device)
        for step in range(self.longest + 1):
            parents = self._advance(step, parents)
            if not len(parents):
                return self._sorted()
        raise RuntimeError("a sentence has no hypothesis; the scores of the model may be NaN")

    def _advance(self, step: int, parents: Tensor) -> Tensor:
        """Take a step; return the row of this step that each row of the next one continues."""
        tokens, sentences = self.tokens[:, : step + 1], self.sentences_of_rows
        outcomes = [session.step(tokens, parents, sentences) for session in self.sessions]
        attention = [one[1] for one in outcomes]
        is_ensemble = len(attention) > 1
        self.attention.add(torch.stack(attention).mean(dim=0) if is_ensemble else attention[0])
        scores, tokens, rows = self._candidates(step, [one[0] for one in outcomes])
        is_end = tokens.eq(self.generator.eos) & scores.ne(-math.inf)
        finished = self._finish(step, is_end, scores, rows)
        if finished:
            others = sorted(set(range(len(scores))) - set(finished))
            kept = torch.tensor(others, dtype=torch.int64).to(self.device)
            self.sentences, self.lengths = self.sentences[kept], self.lengths[kept]
            self.sentences_of_rows = self.sentences.repeat_interleave(self.beam)
            if self.prefix is not None:
                self.prefix = self.prefix[kept]
            is_end, scores, tokens, rows = (x[kept] for x in (is_end, scores, tokens, rows))
        # the best candidates that did not end, in order: at least half of them
        order = self.numbers[: scores.shape[1]] + is_end * scores.shape[1]
        continued = torch.topk(order, self.beam, dim=1, largest=False)[1]
        scores, tokens, rows = (x.gather(1, continued).view(-1) for x in (scores, tokens, rows))
        self.tokens, self.scores = self.tokens[rows], self.scores[rows]
        self.attention.follow(rows)
        self.tokens[:, step + 1], self.scores[:, step] = tokens, scores
        return rows

    def _candidates(self, step: int, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return cumulative scores, tokens and rows of the best continuations of each sentence.

        Args:
            features: output of each model's decoder, (rows, width).

        Returns:
            Three tensors of shape (sentences, 2 x beam), best first.
        """
        generator, count = self.generator, 2 * self.beam
        forced, bonus = self._rules(step)
        features = self._repeat_first_beam(step, forced, features)
        banned = self._banned(step)
        rules = TokenRules(count, generator.pad, generator.temperature, bonus, forced, banned)
        scores, tokens = self.best_tokens(features, self.outputs, rules)
        if step > 0:
            scores = scores + self.scores[:, step - 1, None]
        else:  # all hypotheses of a sentence are equal
            is_copy = self.numbers[: len(scores)] % self.beam != 0
            scores = scores.masked_fill(is_copy[:, None], -math.inf)
        scores, best = torch.topk(scores.view(-1, self.beam * count), count)
        first_rows = self.numbers[: len(scores), None] * self.beam
        return (
            scores,
            tokens.view(-1, self.beam * count).gather(1, best),
            first_rows + torch.div(best, count, rounding_mode="floor"),
        )

    def _rules(self, step: int) -> tuple[Optional[Tensor], Tensor]:
        """Return the only token of each row, or -1, and what is added to each token's score."""
        always, free, early = self.bonus
        if step >= self.longest:
            return torch.full_like(self.tokens[:, 0], self.generator.eos), free
        if self.prefix is not None and step < self.prefix.shape[1]:
            # minimum length and suppressed tokens do not apply to this step, as in fairseq
            forced = self.prefix[:, step].repeat_interleave(self.beam)
            return forced.masked_fill(forced.eq(self.generator.pad), -1), always
        return None, early if step < self.generator.min_len else free

    def _repeat_first_beam(
        self, step: int, forced: Optional[Tensor], features: list[Tensor]
    ) -> list[Tensor]:
        """Replace all hypotheses of a sentence by the first one, if its prefix ends here."""
        if forced is None or step >= self.longest:
            return features
        ended = forced.eq(self.generator.eos)
        if not ended.any():
            return features
        rows = self.numbers[: len(forced)]
        rows = torch.where(ended, rows - rows % self.beam, rows)
        self.tokens, self.scores = self.tokens[rows], self.scores[rows]
        return [one[rows] for one in features]

    def _banned(self, step: int) -> tuple[Tensor, Tensor]:
        """Return row and token of each continuation that would repeat an n-gram."""
        blocker = self.generator.repeat_ngram_blocker
        size = blocker.no_repeat_ngram_size if blocker is not None else step + 2
        if size > step + 1:
            return self.numbers[:0], self.numbers[:0]
        tokens = self.tokens[:, : step + 1]
        grams = tokens.unfold(1, size, 1)
        last = tokens[:, None, step + 2 - size :]
        rows, places = (grams[:, :, :-1] == last).all(dim=2).nonzero(as_tuple=True)
        return rows, grams[rows, places, -1]

    def _finish(self, step: int, is_end: Tensor, scores: Tensor, rows: Tensor) -> list[int]:
        """Store the hypotheses that end; return the rows of ``sentences`` that are finished."""
        best = is_end[:, : self.beam]
        if not best.any():
            return []
        newly_finished: list[int] = self.generator.finalize_hypos(
            step,
            rows[:, : self.beam][best],
            scores[:, : self.beam][best],
            self.tokens,
            self.scores,
            self.hypotheses,
            self.is_finished,
            self.beam,
            self.attention,
            self.lengths,
            self.longest,
        )
        return newly_finished

    def _sorted(self) -> list[list[dict[str, Tensor]]]:
        """Return the hypotheses of each sentence, best first."""
        # read at once: each read from a GPU waits for it
        scores = torch.stack([h["score"] for one in self.hypotheses for h in one]).tolist()
        remaining = iter(scores)
        return [
            [h for h, _ in sorted(zip(one, remaining), key=lambda pair: -pair[1])]
            for one in self.hypotheses
        ]


class _Attention:
    """Attention of hypotheses to the source in all steps, which is not copied when they move.

    Args:
        rows: number of hypotheses in the first step.
        source: length of the source.
        steps: largest number of steps.
        device: device of the weights.
    """

    def __init__(self, rows: int, source: int, steps: int, device: torch.device) -> None:
        self._weights = torch.empty(steps, rows, source, device=device)
        self._ancestors = torch.zeros(rows, steps, dtype=torch.int64, device=device)
        self._numbers = torch.arange(rows, device=device)
        self._steps = 0

    def add(self, weights: Tensor) -> None:
        """Add a step: (rows, source)."""
        self._weights[self._steps, : len(weights)] = weights
        self._ancestors[:, self._steps] = self._numbers[: len(weights)]
        self._steps += 1

    def follow(self, rows: Tensor) -> None:
        """Let each row continue one of the last step."""
        self._ancestors = self._ancestors[rows]

    def index_select(self, dim: int, rows: Tensor) -> Tensor:
        """Return the attention of some rows, as of fairseq's tensor, whose first column is unused.

        Returns:
            Weights of shape (rows, source, 1 + steps).
        """
        steps = torch.arange(self._steps, device=rows.device)
        weights = self._weights[steps, self._ancestors[rows, : self._steps]]
        return torch.nn.functional.pad(weights.transpose(1, 2), (1, 0))


def _bonus(generator: SequenceGenerator, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return what is added to the scores of tokens: in prefixes, otherwise, and in early steps."""
    always = torch.zeros(generator.vocab_size, device=device)
    always[generator.pad] = -math.inf
    always[generator.unk] -= generator.unk_penalty
    free = always.clone()
    suppressed = getattr(generator, "token_indices_to_suppress", None)
    if suppressed is not None:
        free[suppressed] = -math.inf
    early = free.clone()
    early[generator.eos] = -math.inf
    return always, free, early
