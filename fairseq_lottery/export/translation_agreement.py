"""Comparison of a converted model with its original on the same sentences.

Two programs that add the same numbers in a different order differ in the last bits. This changes
the log-probability of a token by 1e-6 to 1e-5. It changes a beam search only if a kept and a
dropped candidate are closer than the accumulated error. So two things are compared. Both programs
score each token of fairseq's translations, and these log-probabilities must agree up to
``TOLERANCE``. The translations must be equal token by token, except where a decision of fairseq's
search was as close as the measured difference.

One difference is not rounding. Neither program selects ``<pad>``, nor ``</s>`` at the start.
CTranslate2 gives the probability of these to the other tokens; fairseq does not. It is small after
a training (5e-5 with label smoothing and 2,000 symbols), but large before. So fairseq translates
sentences that differ a second time, with CTranslate2's rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.data import Dictionary

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.export.ctranslate2_translator import score, translate
from fairseq_lottery.inference.beam_search import (
    BATCH,
    BEAM,
    LIMIT,
    Translation,
    translate_with_fairseq,
)

#: maximum difference of a token's log-probability in float32. Logits are sums of up to 1,024
#: products after some hundred operations, each exact to 6e-8 of numbers up to 30. Measured
#: differences reach 2e-5 with two to six layers, dense and pruned. The smallest known error of a
#: model, another approximation of GELU in two layers, makes 1e-3; most errors make 1.
TOLERANCE = 3e-4
#: smallest difference that float32 resolves for log-probabilities around 10
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison. Reasons for differences are counted only if weights are equal.

    Attributes:
        sentences: number of translated sentences.
        equal: number of translations that are equal token by token.
        ties: number that differ because candidates of fairseq's search were equal up to rounding.
        shared: number that differ because CTranslate2 renormalizes without excluded tokens.
        cut: number that reached the length limit, where fairseq adds ``</s>`` and CTranslate2
            does not.
        limit: length limit in tokens.
        worst, mean: difference of a token's log-probability over all tokens of fairseq's
            translations.
    """

    sentences: int
    equal: int
    ties: int
    shared: int
    cut: int
    limit: int
    worst: float
    mean: float

    @property
    def unexplained(self) -> int:
        """Number of translations that differ for an unknown reason."""
        return self.sentences - self.equal - self.ties - self.shared - self.cut

    @property
    def is_exact(self) -> bool:
        """Whether all differences are explained and within ``TOLERANCE``."""
        return self.unexplained == 0 and self.worst <= TOLERANCE

    def describe(self) -> str:
        """Return a summary in two lines."""
        cut = f"cut off after {self.limit} tokens, where fairseq adds </s> and CTranslate2 does not"
        rest = {
            "at a tie of the search": self.ties,
            "because CTranslate2 gives the probability of <pad> to other tokens": self.shared,
            cut: self.cut,
        }
        reasons = ", ".join(f"{count} {why}" for why, count in rest.items() if count)
        return (
            f"{self.equal} of {self.sentences} sentences are translated as by fairseq, token by"
            f" token (beam {BEAM}){'; the others: ' if reasons else ''}{reasons}\n"
            f"a token's log-probability differs by {self.mean:.1e} on average, by"
            f" {self.worst:.1e} at most"
        )


def compare(
    model: Any,
    source: Dictionary,
    target: Dictionary,
    translator: Any,
    sentences: Sequence[Sequence[str]],
    explain: bool,
) -> Agreement:
    """Translate ``sentences`` with fairseq's ``model`` and with a CTranslate2 ``translator``.

    Args:
        explain: whether to count the reasons of differences; False for quantized weights. There is
            no reason if a token's log-probability differs by more than ``TOLERANCE``.

    Raises:
        LotteryError: a sentence, or a token's log-probability, is missing on either side.
    """
    limit = min(LIMIT, model.max_decoder_positions() - 1)
    expected = translate_with_fairseq(model, source, target, sentences)
    converted = translate(translator, sentences, beam=BEAM, longest=limit, batch=BATCH)
    scores = score(translator, sentences, [t.tokens for t in expected], batch=BATCH)
    _refuse_missing(len(sentences), expected, converted, scores)
    gaps = [
        abs(theirs - ours)
        for translation, log_probs in zip(expected, scores)
        for theirs, ours in zip(translation.log_probs, log_probs)
    ]
    # comparisons with NaN are false, so max() would ignore it
    worst = max(gaps) if all(map(math.isfinite, gaps)) else math.inf
    error = min(max(worst, _ROUNDING), TOLERANCE)
    differ = [k for k, one in enumerate(expected) if converted[k] != one.tokens]
    # if scores of tokens differ, the models differ, and no reason explains a translation
    unclear = [sentences[k] for k in differ if explain and worst <= TOLERANCE]
    second = translate_with_fairseq(model, source, target, unclear, renormalize=True)
    if len(second) != len(unclear):
        raise LotteryError(
            f"fairseq returned {len(second)} second translations, expected {len(unclear)}"
        )
    reasons = [
        _reason(expected[k], converted[k], shared, limit, error)
        for k, shared in zip(differ, second)
    ]
    return Agreement(
        sentences=len(sentences),
        equal=len(sentences) - len(differ),
        ties=reasons.count("tie"),
        shared=reasons.count("shared"),
        cut=reasons.count("cut"),
        limit=limit,
        worst=worst,
        mean=sum(gaps) / len(gaps),
    )


def _refuse_missing(
    count: int,
    expected: Sequence[Translation],
    converted: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
) -> None:
    """Refuse results of different lengths, which ``zip`` would truncate."""
    results = {"fairseq": expected, "CTranslate2": converted, "CTranslate2's scoring": scores}
    for program, result in results.items():
        if len(result) != count:
            raise LotteryError(f"{program} returned {len(result)} results, expected {count}")
    for number, (ours, log_probs) in enumerate(zip(expected, scores), 1):
        # one value per token, and one for </s>
        if not len(log_probs) == len(ours.log_probs) == len(ours.tokens) + 1:
            raise LotteryError(
                f"sentence {number} needs {len(ours.tokens) + 1} scores, but fairseq returned"
                f" {len(ours.log_probs)} and CTranslate2 {len(log_probs)}"
            )


def _reason(
    expected: Translation, converted: list[str], shared: Translation, limit: int, error: float
) -> Optional[str]:
    if max(len(converted), len(expected.tokens)) >= limit:
        return "cut"
    if converted == shared.tokens:
        return "tie" if expected.slack <= error else "shared"
    return "tie" if min(expected.slack, shared.slack) <= error else None
