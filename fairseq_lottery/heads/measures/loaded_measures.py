"""Measuring the heads and FFN units of a trained model on examples of its data folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Callable, Optional, Union

import torch
from sacrebleu.metrics import BLEU

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.measures.head_changes import attention_change, difference, weight_change
from fairseq_lottery.heads.measures.importance import NO_TOKENS, Scores, normalised
from fairseq_lottery.heads.measures.loaded_heads import LiveHeads, Sample
from fairseq_lottery.heads.measures.measures import MeasureInput, measure
from fairseq_lottery.inference.beam_search import translate_with_fairseq
from fairseq_lottery.inference.loaded_model import batches, examples, masked
from fairseq_lottery.masks import Mask
from fairseq_lottery.options import Gradients, Importance
from fairseq_lottery.options.axes import PER

#: what is asked of a head before and after a training
CHANGES = ("weights", "attention", "importance")
#: what a model under closed parts is judged by; of ``loss`` less is better
METRICS = ("loss", "bleu")


def measured(
    made: LiveHeads,
    sample: Sample,
    name: str = Importance.measure,
    per: str = Gradients.per,
    start: Optional[Parts] = None,
    normalise: bool = False,
) -> Scores:
    """Return how important each head, unit and block is; by confidence, heads only.

    Args:
        name: of a measure.
        per: a name of ``PER``, for gradients.
        start: what is open so far; by default everything.
        normalise: whether to divide by the norm over each module.
    """
    PER.refuse_unknown(per)
    given = MeasureInput(
        model=made.model,
        anatomy=made.anatomy,
        weights=made.weights,
        gates=made.gates(start),
        batches=lambda: sample.batches(made),
        loss=made.evaluation.loss,
        ignored=made.ignored,
        per=per,
        learned=made.learned,
    )
    scores = measure(name, given)
    return normalised(scores) if normalise else scores


def changed(before: LiveHeads, after: LiveHeads, sample: Sample, measure: str, per: str) -> Scores:
    """Return what a training has changed of each head, see ``measures.head_changes``.

    Args:
        measure: ``weights``, ``attention``, or ``importance``, normalised, after less before.
    """
    if measure not in CHANGES:
        raise LotteryError(f"there is no change of {measure!r}; choose one of {', '.join(CHANGES)}")
    if before.anatomy != after.anatomy or before.evaluation.symbols != after.evaluation.symbols:
        raise LotteryError(f"{before.source.path} and {after.source.path} are of different models")
    if measure == "weights":
        return weight_change(before.weights, after.weights, after.anatomy)
    if measure == "importance":
        both = (measured(one, sample, per=per, normalise=True) for one in (after, before))
        return difference(*({"heads": scores["heads"]} for scores in both))
    models, pad = (before.model, after.model), after.ignored[1]
    return attention_change(*models, after.anatomy, sample.batches(after), pad)


class Judged:
    """What a model is worth with some parts closed, or some weights pruned.

    Args:
        made: the model; it is as it was between two judgements.
        sample: the sentences.
        metric: ``loss``, in nats a token, of sentences under teacher forcing; or ``bleu`` (beam 5)
            against the target side of the data without its subword joins, tokens as they are.
        joins: fairseq's name of the subwords, as ``subword_nmt`` or ``sentencepiece``, for BLEU.
    """

    def __init__(
        self, made: LiveHeads, sample: Sample, metric: str = "loss", joins: Optional[str] = None
    ) -> None:
        if metric not in METRICS:
            raise LotteryError(f"there is no metric {metric!r}; choose one of {', '.join(METRICS)}")
        if metric == "bleu":
            made.source.adapter.refuse_unless_translating(made.source.path, "--metric bleu")
        self.made, self.metric, self.joins = made, metric, joins
        self.examples = examples(made, sample.subset, sample.sentences)
        self.tokens = sample.tokens

    def __call__(self, left: Union[Parts, Mask]) -> float:
        """Return the metric with only the open parts, or only the weights that a mask keeps."""
        acting: AbstractContextManager[Any]
        if isinstance(left, Mask):
            acting = masked(self.made.model, left)
        else:
            acting = self.made.gates(left).attached()
        with acting, torch.no_grad():
            return self._bleu() if self.metric == "bleu" else self._loss()

    def more_is_better(self, left: Union[Parts, Mask]) -> float:
        """Return the metric, of a loss exp(-loss): the inverse of the perplexity."""
        found = self(left)
        return found if self.metric == "bleu" else math.exp(-found)

    def _loss(self) -> float:
        total = tokens = 0.0
        for batch in batches(self.examples, self.tokens, self.made.device):
            loss, count, _ = self.made.evaluation.loss(self.made.model, batch)
            total, tokens = total + float(loss), tokens + count
        if not tokens:
            raise LotteryError(NO_TOKENS)
        return total / tokens

    def _bleu(self) -> float:
        source, target = self.made.evaluation.dictionaries.values()
        given, wanted = [], []
        for number in range(len(self.examples)):
            pair = self.examples[number]
            given.append([source[k] for k in pair["source"].tolist()[:-1]])
            # as fairseq has it: an unknown word of the reference is matched by no <unk>
            wanted.append(target.string(pair["target"], self.joins, escape_unk=True))
        found = translate_with_fairseq(self.made.model, source, target, given)
        ids = (torch.tensor([*map(target.index, one.tokens)], dtype=torch.long) for one in found)
        said = [target.string(one, self.joins) for one in ids]
        return float(BLEU(tokenize="none", force=True).corpus_score(said, [wanted]).score)


def ablated(
    judge: Callable[[Parts], float],
    start: Parts,
    full: float,
    kinds: Iterable[str],
    one_left: bool = False,
) -> Scores:
    """Return how the metric changes when one open part of a module closes, or all but one.

    The exact measure that estimates are held against (Michel et al. 2019, section 3). Parts that
    are closed already change nothing.

    Args:
        judge: the metric of the model with only some parts open.
        full: the metric of ``start``.
        kinds: of ``KINDS``; a measurement is made for every part, so units take long.
    """
    found: Scores = {}
    for kind in kinds:
        found[kind] = {}
        for name, keep in start[kind].items():
            effect = torch.zeros(keep.numel(), dtype=torch.float64)
            opened = torch.nonzero(keep).flatten().tolist()
            for number in opened:
                closing = [(name, n) for n in opened if (n == number) != one_left]
                effect[number] = judge(start.without(kind, closing)) - full
            found[kind][name] = effect
    return found
