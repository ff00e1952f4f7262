"""How much the loss depends on each head, FFN unit and FFN block, to first order.

Michel et al. 2019, section 2.3, and Prasanna et al. 2020, section 3.1: I = E|dL/dgate|. They
differ in where the absolute value is taken, which is ``per`` here. In the public code of both
gradients of the gates add up from batch to batch; here every batch stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.options.axes import PER

#: kind -> module -> a number for each part
Scores = dict[str, dict[str, Tensor]]
#: batch -> summed loss, and the tokens and sentences that it is a sum over
Loss = Callable[[nn.Module, Any], tuple[Tensor, int, int]]

NO_TOKENS = "no token of the examples counts in the loss; give more examples, or another subset"


def importance(gates: Gates, batches: Iterable[Any], loss: Loss, per: str = "sentence") -> Scores:
    """Return the mean of |dL/dgate| over tokens, sentences or batches, L being a sum over tokens.

    The magnitude is taken at every position (the code of Michel et al.), of the sum over a sentence
    (their formula), or of the sum over a batch (the code of Prasanna et al.).

    Args:
        gates: of the model as it is used, in evaluation mode for a measure without dropout.
        batches: at least one.
        per: a name of ``PER``. ``token`` is divided by the tokens of the loss, also for parts of an
            encoder, so that parts compare.

    Raises:
        LotteryError: no batch, or a loss that is not finite.
    """
    PER.refuse_unknown(per)
    totals: Scores = {
        kind: {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
        for kind, sizes in gates.anatomy.sizes.items()
    }
    counts = dict.fromkeys(PER.names, 0)
    with gates.attached():
        for batch in batches:
            with gates.watched() as watched, torch.enable_grad():
                value, tokens, sentences = loss(gates.model, batch)
                if not bool(torch.isfinite(value)):
                    raise LotteryError(f"the loss is {float(value)}, so nothing can be told of it")
                seen = [(key, local) for key, found in watched.items() for local in found]
                gradients = torch.autograd.grad(
                    value, [local for _, local in seen], allow_unused=True
                )
            for ((kind, name), _), gradient in zip(seen, gradients):
                if gradient is not None:
                    totals[kind][name] += _magnitude(gradient.double(), per).cpu()
            counts["token"] += tokens
            counts["sentence"] += sentences
            counts["batch"] += 1
    if not counts["batch"]:
        raise LotteryError("there is no data to measure importance on")
    if not counts["token"]:
        raise LotteryError(NO_TOKENS)
    return {
        kind: {name: total / counts[per] for name, total in modules.items()}
        for kind, modules in totals.items()
    }


def _magnitude(gradient: Tensor, per: str) -> Tensor:
    """Return the sum of |dL/dgate| for the gradient at (time, batch, part)."""
    if per == "token":
        return gradient.abs().sum(dim=(0, 1))
    by_sentence = gradient.sum(dim=0)
    return by_sentence.abs().sum(dim=0) if per == "sentence" else by_sentence.sum(dim=0).abs()


def refuse_unfit(values: Any, size: int, what: str) -> None:
    """Refuse scores that are not a tensor with a finite real number for each of ``size`` parts."""
    shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if shape != (size,):
        raise LotteryError(f"{what} have shape {shape}, expected ({size},)")
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise LotteryError(f"{what} are complex or not all finite")


def normalised(scores: Scores) -> Scores:
    """Return scores divided by their L2 norm over the same module (Molchanov et al. 2017).

    A module of only zeros stays zero. Blocks, one a layer, are left as they are.
    """
    return {
        kind: {n: v / (v.norm() or 1) if kind != "blocks" else v for n, v in modules.items()}
        for kind, modules in scores.items()
    }
