"""Loss and error of the models on the line between two models."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq_lottery.analysis.registry import Row
from fairseq_lottery.analysis.weights.barrier import Line
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.formats import trainable
from fairseq_lottery.inference.evaluation import PairsOfSentences
from fairseq_lottery.inference.loaded_model import (
    Examples,
    LoadedModel,
    batches,
    examples,
    load_for_evaluation,
)
from fairseq_lottery.masks import Mask, overlap

#: largest relative difference of a loss that rounding explains
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Connection:
    """Loss and error of token prediction on the line between two models.

    Attributes:
        loss: nats per token under teacher forcing.
        error: share of tokens that are not the most probable ones; None for a task without
            translations.
        examples, tokens: numbers of examples and of target tokens at each position.
        masks: ``none`` (two dense models), ``same``, or ``union``, where a position between the
            models keeps each weight that either mask keeps.
        digests: digests of the weights of both models.
    """

    loss: Line
    error: Optional[Line]
    examples: int
    tokens: int
    masks: str
    digests: tuple[str, str]

    @property
    def lines(self) -> dict[str, Line]:
        """Name -> line: ``loss``, and ``error`` if it is known."""
        return {"loss": self.loss, **({"error": self.error} if self.error is not None else {})}

    def rows(self) -> Iterator[Row]:
        """Yield the value at each position, and the barriers."""
        for name, line in self.lines.items():
            for alpha, value in zip(line.alphas, line.values):
                yield {"measure": "connect", "statistic": name, "alpha": alpha, "value": value}
            for kind in ("barrier", "bump"):
                value = getattr(line, kind)
                yield {"measure": "connect", "statistic": f"{name}-{kind}", "value": value}


def connect(
    a: Union[str, Path],
    b: Union[str, Path],
    data: Optional[str] = None,
    subset: str = "valid",
    points: int = 11,
    sentences: Optional[int] = None,
    tokens: int = 4096,
    cpu: bool = False,
    joins_masks: bool = False,
    advance: Callable[[int], Any] = lambda count: None,
) -> Connection:
    """Evaluate models with the weights (1 - alpha) * A + alpha * B.

    All parameters are interpolated alike, those of layer norms and biases too. Buffers are A's.

    Args:
        a, b: checkpoints, compact files, tickets or snapshots of one architecture.
        data: data folder that replaces that of A's training.
        points: number of positions, with both ends.
        sentences: number of examples, evenly spread over the subset; None for all.
        tokens: maximum tokens of a batch, with padding.
        joins_masks: whether to accept different masks, or a mask and a dense model.
        advance: called with the number of evaluated examples.

    Raises:
        LotteryError: the models have different shapes, dictionaries, architectures or masks; the
            subset is missing; or a loss on the line is not finite.
    """
    if points < 3:
        raise LotteryError(f"--points {points} has no point between the models; give at least 3")
    if sentences is not None and sentences < 1:
        raise LotteryError(f"--sentences {sentences} is out of range; give 1 or more")
    first, last = load_for_evaluation(a, data, cpu), load_for_evaluation(b, data, cpu)
    _refuse_others(first, last)
    masks = _kind_of_masks(first, last, joins_masks)
    selected = examples(first, subset, sentences)
    _refuse_other_function(first, last, selected, tokens)
    digests = first.source.digest(), last.source.digest()
    weights = last.weights
    del last  # frees its model
    alphas = [number / (points - 1) for number in range(points)]
    losses, errors, counts = [], [], 0
    with torch.no_grad():
        for alpha in alphas:
            _set(first, weights, alpha)
            loss, wrong, counts = _evaluate(first, selected, tokens, advance)
            if not math.isfinite(loss):
                raise LotteryError(
                    f"the loss at alpha {alpha:g} between {a} and {b} is not finite; the models"
                    " cannot be compared on this line"
                )
            losses.append(loss)
            errors.append(wrong)
    known = [error for error in errors if error is not None]
    return Connection(
        loss=Line(alphas, losses),
        error=Line(alphas, known) if len(known) == points else None,
        examples=len(selected),
        tokens=counts,
        masks=masks,
        digests=digests,
    )


def _refuse_others(first: LoadedModel, last: LoadedModel) -> None:
    paths = f"{first.source.path} and {last.source.path}"
    for name in sorted({*first.weights, *last.weights}):
        shapes = [
            tuple(m.weights[name].shape) if name in m.weights else None for m in (first, last)
        ]
        if shapes[0] != shapes[1]:
            texts = " and ".join("missing" if one is None else str(one) for one in shapes)
            raise LotteryError(
                f"{name} of {paths} has different shapes ({texts}); give two models of one"
                " architecture"
            )
    if first.evaluation.symbols != last.evaluation.symbols:
        raise LotteryError(
            f"{paths} have different dictionaries, so their embeddings do not pair; give two models"
            " of the same data"
        )


def _kind_of_masks(first: LoadedModel, last: LoadedModel, joins_masks: bool) -> str:
    masks: list[Optional[Mask]] = [first.source.mask, last.source.mask]
    pruned = [mask for mask in masks if mask is not None and mask.pruned]
    if not pruned:
        return "none"
    if len(pruned) == 2 and pruned[0] == pruned[1]:
        return "same"
    if joins_masks:
        return "union"
    difference = "one of them is dense"
    if len(pruned) == 2:
        difference = "their prunable sets differ"
        if all(p.keys() == q.keys() for p, q in (pruned, pruned[::-1])):
            difference = f"their survivors have a Jaccard index of {overlap(*pruned)[''][0]:.3f}"
    raise LotteryError(
        f"{first.source.path} and {last.source.path} do not have the same mask ({difference}), so"
        " models between them keep what either keeps; give --join-masks to evaluate these"
    )


def _refuse_other_function(
    first: LoadedModel, last: LoadedModel, selected: Examples, tokens: int
) -> None:
    """Refuse models that compute something else with the same weights, such as other heads."""
    batch = next(batches(selected, tokens, first.device))
    with torch.no_grad():
        own = float(last.evaluation.loss(last.model, batch)[0])
        before = {n: p.detach().clone() for n, p in trainable(first.model).items()}
        _set(first, last.weights, 1.0)
        here = float(first.evaluation.loss(first.model, batch)[0])
        for name, parameter in trainable(first.model).items():
            parameter.copy_(before[name])
    if math.isfinite(own) and abs(own - here) > _ROUNDING * abs(own):
        raise LotteryError(
            f"{first.source.path} and {last.source.path} have equal shapes but different"
            " architectures: the same weights have another loss; give two models of one"
            " architecture"
        )


def _set(loaded: LoadedModel, others: Mapping[str, Tensor], alpha: float) -> None:
    """Give the model its own weights at alpha 0, the others at 1, and a mix in between."""
    for name, parameter in trainable(loaded.model).items():
        own, other = loaded.weights[name], others[name]
        if alpha == 0 or alpha == 1:
            parameter.copy_(other if alpha else own)
        else:
            parameter.copy_((1 - alpha) * own.double() + alpha * other.double())


def _evaluate(
    loaded: LoadedModel, selected: Examples, tokens: int, advance: Callable[[int], Any]
) -> tuple[float, Optional[float], int]:
    """Return loss per token, share of wrong tokens, and number of tokens."""
    evaluation = loaded.evaluation
    losses, wrong, count = 0.0, 0, 0
    translates = isinstance(evaluation, PairsOfSentences)
    for batch in batches(selected, tokens, loaded.device):
        if isinstance(evaluation, PairsOfSentences):
            loss, errors, own = evaluation.loss_and_errors(loaded.model, batch)
            wrong += errors
        else:
            loss, own, _ = evaluation.loss(loaded.model, batch)
        losses, count = losses + float(loss), count + own
        advance(len(batch["id"]))
    return losses / count, wrong / count if translates else None, count
