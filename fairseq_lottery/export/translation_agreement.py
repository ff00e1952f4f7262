"""Whether a converted model is the model: fairseq and CTranslate2 translate the same sentences.

Two programs that add the same numbers in another order differ in the last bits. That moves the
log-probability of a token by some 1e-6 to 1e-5, and a beam search only where two candidates of
which it drops one are closer than what has added up. So two things are compared. The
log-probability of each token of fairseq's translations, which both are asked for, has to agree to
``TOLERANCE``. And the translations have to be equal token by token, but where fairseq's own
search hung on no more than the difference that was measured.

One difference is no rounding. Neither selects ``<pad>``, nor ``</s>`` at the start. CTranslate2
gives what these would have had to the other tokens, fairseq to none. That is nothing after a
training (5e-5 with label smoothing and 2,000 symbols), and much before it. A sentence that differs
is therefore searched once more with fairseq, under CTranslate2's rule.
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

#: that a token's log-probability may differ by in float32. Logits are sums of up to 1,024 products
#: after some hundred operations, each right to 6e-8 of numbers up to 30: measured are up to 2e-5,
#: with two to six layers, dense and pruned. The least change of a model that was found, the other
#: approximation of GELU in two layers, makes 1e-3; another activation 1, and so do most mistakes.
TOLERANCE = 3e-4
#: float32 cannot tell log-probabilities around 10 apart that are closer
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Agreement:
    """What came of comparing.

    Attributes:
        sentences: how many were translated.
        equal: translations that are equal token by token. Of the others a reason is looked for
            only where weights are the same:
        ties: where fairseq's search hung on no more than rounding;
        shared: where CTranslate2 gives the share of tokens that may not be selected to the rest;
        cut: where the limit of a translation's length was reached, which fairseq ends with
            ``</s>`` and CTranslate2 without.
        limit: that length in tokens.
        worst, mean: difference of a token's log-probability, over all tokens of fairseq's
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
    def other(self) -> int:
        """Translations that differ without a reason that was found."""
        return self.sentences - self.equal - self.ties - self.shared - self.cut

    @property
    def is_exact(self) -> bool:
        """Whether nothing differs by more than rounding."""
        return self.other == 0 and self.worst <= TOLERANCE

    def describe(self) -> str:
        """What a user wants to know of it."""
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
        explain: whether to find out why sentences differ; with quantized weights they just do,
            and so they do where a token's log-probability differs by more than ``TOLERANCE``.

    Raises:
        LotteryError: a sentence, or a token's log-probability, is missing on either side.
    """
    limit = min(LIMIT, model.max_decoder_positions() - 1)
    wanted = translate_with_fairseq(model, source, target, sentences)
    found = translate(translator, sentences, beam=BEAM, longest=limit, batch=BATCH)
    scores = score(translator, sentences, [one.tokens for one in wanted], batch=BATCH)
    _refuse_lost(len(sentences), wanted, found, scores)
    gaps = [
        abs(theirs - ours)
        for one, log_probs in zip(wanted, scores)
        for theirs, ours in zip(one.log_probs, log_probs)
    ]
    # a comparison with NaN is false, and max() would pass over it
    worst = max(gaps) if all(map(math.isfinite, gaps)) else math.inf
    error = min(max(worst, _ROUNDING), TOLERANCE)
    differ = [k for k, one in enumerate(wanted) if found[k] != one.tokens]
    # where tokens are scored otherwise, it is another model, and no reason excuses a difference
    unclear = [sentences[k] for k in differ if explain and worst <= TOLERANCE]
    again = translate_with_fairseq(model, source, target, unclear, shares=True)
    if len(again) != len(unclear):
        raise LotteryError(
            f"of {len(unclear)} sentences that were translated once more came back {len(again)}"
        )
    why = [_reason(wanted[k], found[k], shared, limit, error) for k, shared in zip(differ, again)]
    return Agreement(
        sentences=len(sentences),
        equal=len(sentences) - len(differ),
        ties=why.count("tie"),
        shared=why.count("shared"),
        cut=why.count("cut"),
        limit=limit,
        worst=worst,
        mean=sum(gaps) / len(gaps),
    )


def _refuse_lost(
    count: int,
    wanted: Sequence[Translation],
    found: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
) -> None:
    """Refuse what would be compared in part: ``zip`` ends with the shorter one."""
    given = {"fairseq": wanted, "CTranslate2": found, "CTranslate2's scoring": scores}
    for whose, one in given.items():
        if len(one) != count:
            raise LotteryError(f"of {count} sentences {whose} gave back {len(one)}")
    for number, (ours, log_probs) in enumerate(zip(wanted, scores), 1):
        # every token and the </s> after them
        if not len(log_probs) == len(ours.log_probs) == len(ours.tokens) + 1:
            raise LotteryError(
                f"sentence {number} has {len(ours.tokens)} tokens and </s>, of which fairseq scored"
                f" {len(ours.log_probs)} and CTranslate2 {len(log_probs)}"
            )


def _reason(
    wanted: Translation, found: list[str], shared: Translation, limit: int, error: float
) -> Optional[str]:
    if max(len(found), len(wanted.tokens)) >= limit:
        return "cut"
    if found == shared.tokens:
        return "tie" if wanted.slack <= error else "shared"
    return "tie" if min(wanted.slack, shared.slack) <= error else None
