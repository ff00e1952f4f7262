"""Measurements of the heads and FFN units of a trained model on examples of its data folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Callable, Optional, Union

import torch
from sacrebleu.metrics import BLEU

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.measures.head_changes import attention_change, difference, weight_change
from fairseq_lottery.heads.measures.importance import NO_TOKENS, Scores, normalised
from fairseq_lottery.heads.measures.loaded_heads import LoadedHeads, Sample
from fairseq_lottery.heads.measures.measures import MeasureInput, measure
from fairseq_lottery.inference.beam_search import translate_with_fairseq
from fairseq_lottery.inference.evaluation import PairsOfSentences
from fairseq_lottery.inference.loaded_model import batches, examples, masked
from fairseq_lottery.inference.scores.predictions import join
from fairseq_lottery.masks import Mask
from fairseq_lottery.options import Gradients, Importance
from fairseq_lottery.options.axes import PER

#: what is compared of a head before and after a training
CHANGES = ("weights", "attention", "importance")


def measure_importance(
    loaded: LoadedHeads,
    sample: Sample,
    name: str = Importance.measure,
    per: str = Gradients.per,
    start: Optional[ComponentMask] = None,
    normalise: bool = False,
) -> Scores:
    """Return the importance of each head, unit and block; by confidence, of heads only.

    Args:
        name: name of a measure.
        per: a name of ``PER``, for gradients.
        start: the components that are kept; by default all.
        normalise: whether to divide by the norm over each module.
    """
    PER.refuse_unknown(per)
    inputs = MeasureInput(
        model=loaded.model,
        anatomy=loaded.anatomy,
        weights=loaded.weights,
        gates=loaded.gates(start or ComponentMask(loaded.anatomy, {})),
        batches=lambda: sample.batches(loaded),
        loss=loaded.evaluation.loss,
        ignored=loaded.ignored,
        per=per,
        learned=loaded.learned,
    )
    scores = measure(name, inputs)
    return normalised(scores) if normalise else scores


def measure_changes(
    before: LoadedHeads, after: LoadedHeads, sample: Sample, measure: str, per: str
) -> Scores:
    """Return how much a training has changed each head, see ``measures.head_changes``.

    Args:
        measure: ``weights``, ``attention``, or ``importance``: normalised, after minus before.
    """
    if measure not in CHANGES:
        raise LotteryError(
            f"{measure!r} is not a measure of changes; choose one of {', '.join(CHANGES)}"
        )
    if before.anatomy != after.anatomy or before.evaluation.symbols != after.evaluation.symbols:
        raise LotteryError(
            f"{before.source.path} and {after.source.path} differ in their heads, units or"
            " dictionaries"
        )
    if measure == "weights":
        return weight_change(before.weights, after.weights, after.anatomy)
    if measure == "importance":
        both = (measure_importance(one, sample, per=per, normalise=True) for one in (after, before))
        return difference(*({"heads": scores["heads"]} for scores in both))
    models, pad = (before.model, after.model), after.ignored[-1]
    return attention_change(*models, after.anatomy, sample.batches(after), pad)


class Evaluator:
    """Evaluates a model with some components or weights pruned.

    Args:
        loaded: the model; it is unchanged between two evaluations.
        sample: the sentences.
        metric: ``loss``, in nats per token, or per example of a classifier; of sentences under
            teacher forcing. Or ``bleu`` (beam 5) against the target side of the data without its
            subword joins, tokens as they are. Or a metric of the model's task, such as
            ``accuracy``, in percent; an undefined one is 0.
        joins: fairseq's name of the subwords, such as ``subword_nmt`` or ``sentencepiece``, for
            BLEU.

    Raises:
        LotteryError: models of the task have no such metric.
    """

    def __init__(
        self, loaded: LoadedHeads, sample: Sample, metric: str = "loss", joins: Optional[str] = None
    ) -> None:
        if metric == "bleu":
            loaded.source.adapter.refuse_unless_translating(loaded.source.path, "--metric bleu")
            assert isinstance(loaded.evaluation, PairsOfSentences)
            loaded.evaluation.tokens_of(sample.subset)
        known = loaded.evaluation.metrics
        if metric not in known:
            raise LotteryError(
                f"metric {metric!r} is unknown for {loaded.source.path}; choose one of"
                f" {', '.join(known)}"
            )
        self.is_larger_better = known[metric]
        self.loaded, self.metric, self.joins = loaded, metric, joins
        self.examples = examples(loaded, sample.subset, sample.sentences)
        self.subset, self.tokens = sample.subset, sample.tokens

    def __call__(self, kept: Union[ComponentMask, Mask]) -> float:
        """Return the metric of the model with only the components or weights in ``kept``."""
        pruning: AbstractContextManager[Any]
        if isinstance(kept, Mask):
            pruning = masked(self.loaded.model, kept)
        else:
            pruning = self.loaded.gates(kept).attached()
        with pruning, torch.no_grad():
            if self.metric == "loss":
                return self._loss()
            return self._bleu() if self.metric == "bleu" else self._task_score()

    def more_is_better(self, kept: Union[ComponentMask, Mask]) -> float:
        """Return the metric; for a loss exp(-loss), the inverse of the perplexity."""
        value = self(kept)
        return value if self.is_larger_better else math.exp(-value)

    def _task_score(self) -> float:
        evaluation, model = self.loaded.evaluation, self.loaded.model
        predictions = [
            evaluation.loss_and_predictions(model, batch)[2]
            for batch in batches(self.examples, self.tokens, self.loaded.device)
        ]
        return join([one for one in predictions if one is not None]).scores()[self.metric] or 0.0

    def _loss(self) -> float:
        total = tokens = 0.0
        for batch in batches(self.examples, self.tokens, self.loaded.device):
            loss, count, _ = self.loaded.evaluation.loss(self.loaded.model, batch)
            total, tokens = total + float(loss), tokens + count
        if not tokens:
            raise LotteryError(NO_TOKENS)
        return total / tokens

    def _bleu(self) -> float:
        evaluation = self.loaded.evaluation
        assert isinstance(evaluation, PairsOfSentences)
        source, target = evaluation.dictionaries.values()
        added = evaluation.tokens_of(self.subset)
        ends = {target.index(symbol) for symbol in added.after.values()}
        sentences, references = [], []
        for number in range(len(self.examples)):
            pair = self.examples[number]
            sentences.append([source[k] for k in pair["source"].tolist()[:-1]])
            # as in fairseq: an unknown word of the reference does not match <unk>
            words = pair["target"][len(added.before.keys() & {"target"}) :]
            references.append(
                target.string(words, self.joins, escape_unk=True, extra_symbols_to_ignore=ends)
            )
        outputs = translate_with_fairseq(self.loaded.model, source, target, sentences, tokens=added)
        ids = (torch.tensor([*map(target.index, one.tokens)], dtype=torch.long) for one in outputs)
        translations = [target.string(one, self.joins) for one in ids]
        score = BLEU(tokenize="none", force=True).corpus_score(translations, [references]).score
        return float(score)


def measure_ablation(
    evaluate: Callable[[ComponentMask], float],
    start: ComponentMask,
    full: float,
    kinds: Iterable[str],
    one_left: bool = False,
) -> Scores:
    """Return how the metric changes if one kept component of a module is pruned, or all but one.

    It is the exact measure that estimates are compared with (Michel et al. 2019, section 3). The
    change is 0 for components that are pruned already.

    Args:
        evaluate: returns the metric of the model with only some components kept.
        full: the metric of ``start``.
        kinds: names of ``KINDS``; each component is evaluated, so units take a long time.
    """
    scores: Scores = {}
    for kind in kinds:
        scores[kind] = {}
        for name, keep in start[kind].items():
            effect = torch.zeros(keep.numel(), dtype=torch.float64)
            numbers = torch.nonzero(keep).flatten().tolist()
            for number in numbers:
                pruned = [(name, n) for n in numbers if (n == number) != one_left]
                effect[number] = evaluate(start.without(kind, pruned)) - full
            scores[kind][name] = effect
    return scores
