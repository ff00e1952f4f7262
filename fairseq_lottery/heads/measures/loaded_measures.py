"""Measuring the heads and FFN units of a trained model on examples of its data folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import read_checkpoint
from fairseq_lottery.heads.choices.strategies import STRATEGIES
from fairseq_lottery.heads.choices.strategy_input import StrategyInput
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.heads.gates.learned_gates import learned_in
from fairseq_lottery.heads.measures.ablation import one_left, one_out
from fairseq_lottery.heads.measures.head_changes import attention_change, difference, weight_change
from fairseq_lottery.heads.measures.importance import NO_TOKENS, Scores, normalised
from fairseq_lottery.heads.measures.loaded_heads import LiveHeads
from fairseq_lottery.heads.measures.measures import MeasureInput, measure
from fairseq_lottery.inference.beam_search import translate_with_fairseq
from fairseq_lottery.inference.loaded_model import batches, examples, masked
from fairseq_lottery.masks import Mask
from fairseq_lottery.options import Gradients, Importance
from fairseq_lottery.options.axes import MEASURE, PER

#: what is asked of a head before and after a training
CHANGES = ("weights", "attention", "importance")
#: what a model under closed parts is judged by; of ``loss`` less is better
METRICS = ("loss", "bleu")


@dataclass(frozen=True)
class Sample:
    """Sentences that something is measured on.

    Attributes:
        subset: of the data folder.
        sentences: how many, evenly spread; None for all.
        tokens: of a batch, at most, with padding.
    """

    subset: str = "valid"
    sentences: Optional[int] = None
    tokens: int = 4096

    def __post_init__(self) -> None:
        if self.sentences is not None and self.sentences < 1:
            raise LotteryError(f"--sentences {self.sentences} leaves none; give 1 or more")
        if self.tokens < 1:
            raise LotteryError(f"--max-tokens {self.tokens} leaves no room for a sentence")


def measured(
    made: LiveHeads,
    sample: Sample,
    name: str = Importance.measure,
    per: str = Gradients.per,
    start: Optional[Parts] = None,
) -> Scores:
    """How important each head, unit and block is; of confidence, heads only.

    Args:
        name: of a measure.
        per: a name of ``PER``, for gradients.
        start: what is open so far; by default everything.

    Raises:
        LotteryError: an unknown measure, or no data.
    """
    MEASURE.refuse_unknown(name)
    PER.refuse_unknown(per)
    given = MeasureInput(
        model=made.model,
        anatomy=made.anatomy,
        weights=made.weights,
        gates=_gates(made, start),
        batches=lambda: _batches(made, sample),
        loss=made.evaluation.loss,
        run=_run,
        ignored=_ignored(made),
        per=per,
        learned=lambda: _learned(made),
    )
    return measure(name, given)


def _batches(made: LiveHeads, sample: Sample) -> Iterator[dict[str, Any]]:
    found = examples(made, sample.subset, sample.sentences)
    return batches(found, sample.tokens, made.device)


def _ignored(made: LiveHeads) -> tuple[int, int]:
    """``</s>`` and padding, which have the same number in all dictionaries of fairseq's."""
    dictionary = next(iter(made.evaluation.dictionaries.values()))
    return dictionary.eos(), dictionary.pad()


def _learned(made: LiveHeads) -> Mapping[str, Tensor]:
    """The parameters of the gates in a checkpoint, by kind."""
    path = made.source.path
    if made.source.kind != "checkpoint":
        raise LotteryError(f"{path} is a {made.source.kind}; learned gates are in checkpoints")
    try:
        found = learned_in(read_checkpoint(path).get("criterion"), made.anatomy)
    except LotteryError as error:
        raise LotteryError(f"{path}: {error}") from None
    if found is None:
        raise LotteryError(
            f"{path} has learned no gates; train it with --criterion"
            " label_smoothed_cross_entropy_gates"
        )
    return found.theta


def _run(model: Any, batch: Any) -> tuple[Tensor, Optional[Tensor]]:
    given = batch["net_input"]
    model(**given)
    return given["src_tokens"], given.get("prev_output_tokens")


def _gates(made: LiveHeads, parts: Optional[Parts]) -> Gates:
    gates = Gates(made.model, made.anatomy)
    if parts is not None:
        if parts.anatomy != made.anatomy:
            raise LotteryError(
                f"the choice of heads and units is of another model than {made.source.path}"
            )
        gates.set(parts)
    return gates


def changed(before: LiveHeads, after: LiveHeads, sample: Sample, measure: str, per: str) -> Scores:
    """What a training has changed of each head, see ``structured.changes``.

    Args:
        measure: ``weights``, ``attention``, or ``importance``, normalised, after less before.

    Raises:
        LotteryError: the two are of different models, or there is no data.
    """
    if measure not in CHANGES:
        raise LotteryError(f"there is no change of {measure!r}; choose one of {', '.join(CHANGES)}")
    if before.anatomy != after.anatomy or before.evaluation.symbols != after.evaluation.symbols:
        raise LotteryError(f"{before.source.path} and {after.source.path} are of different models")
    if measure == "weights":
        return weight_change(before.weights, after.weights, after.anatomy)
    if measure == "importance":
        both = (normalised(measured(one, sample, per=per)) for one in (after, before))
        return difference(*({"heads": scores["heads"]} for scores in both))
    return attention_change(
        before.model, after.model, after.anatomy, _batches(after, sample), _run, _ignored(after)[1]
    )


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
        """The metric with only the parts that are open, or the weights that a mask keeps."""
        acting: AbstractContextManager[Any]
        if isinstance(left, Mask):
            acting = masked(self.made.model, left)
        else:
            acting = _gates(self.made, left).attached()
        with acting, torch.no_grad():
            return self._bleu() if self.metric == "bleu" else self._loss()

    def more_is_better(self, left: Union[Parts, Mask]) -> float:
        """The metric, of a loss exp(-loss): the inverse of the perplexity."""
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
        said = [target.string(_ids(target, one.tokens), self.joins) for one in found]
        return float(BLEU(tokenize="none", force=True).corpus_score(said, [wanted]).score)


def _ids(target: Any, tokens: Iterable[str]) -> Tensor:
    return torch.tensor([target.index(token) for token in tokens], dtype=torch.long)


def ablated(judged: Judged, start: Parts, left: bool, kinds: Iterable[str]) -> Scores:
    """What closing each part changes, or, with ``left``, keeping only one head of a module."""
    return one_left(start, judged) if left else one_out(start, kinds, judged)


def prepared(scores: Scores, normalise: bool) -> Scores:
    """Scores as they are, or divided by their norm over each module."""
    return normalised(scores) if normalise else scores


@dataclass(frozen=True)
class Point:
    """A strategy at a share with a seed, and what is left of the metric.

    Attributes:
        metric: None where the strategy cannot close so many; ``why`` says why.
    """

    strategy: str
    share: float
    seed: int
    closed: int
    metric: Optional[float]
    why: Optional[str] = None


def curve(
    judged: Judged,
    given: StrategyInput,
    strategies: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Point]:
    """The metric by share closed, without any training (Michel et al. 2019, section 4).

    Equal choices are measured once.

    Args:
        given: what is ruled over; its fraction and seed are not looked at.
    """
    known: dict[str, float] = {}
    for strategy in strategies:
        for share in shares:
            for seed in seeds:
                try:
                    parts = STRATEGIES[strategy](replace(given, fraction=share, seed=seed))
                except LotteryError as error:
                    yield Point(strategy, share, seed, 0, None, str(error))
                    continue
                digest = parts.digest()
                if digest not in known:
                    known[digest] = judged(parts)
                closed = parts.count_closed(given.kind)
                yield Point(strategy, share, seed, closed, known[digest])
