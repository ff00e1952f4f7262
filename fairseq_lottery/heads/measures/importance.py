"""Importance by gradients: how much the loss depends on each component, to first order.

Michel et al. 2019, section 2.3, and Prasanna et al. 2020, section 3.1: I = E|dL/dgate|. They
differ in where the absolute value is taken, which is ``per`` here. The public code of both adds up
the gradients of the gates from batch to batch; here each batch has its own gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.options.axes import PER

#: kind -> module -> a number for each component
Scores = dict[str, dict[str, Tensor]]
#: (model, batch) -> summed loss, its tokens, its sentences
Loss = Callable[[nn.Module, Any], tuple[Tensor, int, int]]

NO_TOKENS = "the loss counts no token of the examples; give more examples, or another subset"


def importance(gates: Gates, batches: Iterable[Any], loss: Loss, per: str = "sentence") -> Scores:
    """Return the mean of |dL/dgate| over tokens, sentences or batches, L being a sum over tokens.

    With ``token`` the magnitude is that of the gradient at each position (the code of Michel et
    al.), with ``sentence`` that of the sum over a sentence (their formula), and with ``batch`` that
    of the sum over a batch (the code of Prasanna et al.).

    Args:
        gates: gates of the model. In evaluation mode the measure is without dropout.
        batches: at least one batch.
        per: a name of ``PER``. ``token`` divides by the tokens of the loss for components of the
            encoder too, so that all components compare.

    Raises:
        LotteryError: there is no batch, or the loss is not finite.
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
                    raise LotteryError(f"the loss is {float(value)}, expected a finite number")
                seen = [(key, local) for key, factors in watched.items() for local in factors]
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
        raise LotteryError("there are no examples to measure importance on")
    if not counts["token"]:
        raise LotteryError(NO_TOKENS)
    return {
        kind: {name: total / counts[per] for name, total in modules.items()}
        for kind, modules in totals.items()
    }


def _magnitude(gradient: Tensor, per: str) -> Tensor:
    """Return the sum of |dL/dgate| for the gradient at (time, batch, component)."""
    if per == "token":
        return gradient.abs().sum(dim=(0, 1))
    by_sentence = gradient.sum(dim=0)
    return by_sentence.abs().sum(dim=0) if per == "sentence" else by_sentence.sum(dim=0).abs()


def refuse_unfit(values: Any, size: int, title: str) -> None:
    """Refuse scores that are not a tensor of ``size`` finite real numbers."""
    shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
    if shape != (size,):
        raise LotteryError(f"{title} have shape {shape}, expected ({size},)")
    if values.is_complex() or not bool(torch.isfinite(values).all()):
        raise LotteryError(f"{title} are complex or not all finite")


def normalised(scores: Scores) -> Scores:
    """Return scores divided by their L2 norm over the same module (Molchanov et al. 2017).

    A module of zeros stays zero. Blocks, one per layer, are unchanged.
    """
    return {
        kind: {n: v / (v.norm() or 1) if kind != "blocks" else v for n, v in modules.items()}
        for kind, modules in scores.items()
    }
