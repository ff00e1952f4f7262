"""How much the loss depends on each head, FFN unit and FFN block, to first order.

Michel et al. 2019, section 2.3, and Prasanna et al. 2020, section 3.1: I = E|dL/dgate|. They
differ in where the absolute value is taken, which is ``per`` here. In the public code of both
gradients of the gates add up from batch to batch; here every batch stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.gates.gates import Gates
from fairseq_lottery.options.axes import PER

#: kind -> module -> a number for each part
Scores = dict[str, dict[str, Tensor]]
#: batch -> summed loss, and the tokens and sentences that it is a sum over
Loss = Callable[[nn.Module, Any], tuple[Tensor, int, int]]


NO_TOKENS = "no token of the examples counts in the loss; give more examples, or another subset"


def importance(
    model: nn.Module,
    anatomy: Anatomy,
    batches: Iterable[Any],
    loss: Loss,
    per: str = "sentence",
    gates: Optional[Gates] = None,
) -> Scores:
    """The mean of |dL/dgate| over tokens, sentences or batches, L being a sum over tokens.

    The magnitude is taken at every position (the code of Michel et al.), of the sum over a sentence
    (their formula), or of the sum over a batch (the code of Prasanna et al.).

    Args:
        model: as it is used, in evaluation mode for a measure without dropout.
        batches: at least one.
        per: a name of ``PER``. ``token`` is divided by the tokens of the loss, also for parts of an
            encoder, so that parts compare.
        gates: where some parts are closed already; by default all are open.

    Raises:
        LotteryError: no batch, or a loss that is not finite.
    """
    PER.refuse_unknown(per)
    gates = gates or Gates(model, anatomy)
    totals: Scores = {
        kind: {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
        for kind, sizes in anatomy.sizes.items()
    }
    counts = dict.fromkeys(PER.names, 0)
    with gates.attached():
        for batch in batches:
            with gates.watched() as watched, torch.enable_grad():
                value, tokens, sentences = loss(model, batch)
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
    """Sum of |dL/dgate| out of the gradient at (time, batch, part)."""
    if per == "token":
        return gradient.abs().sum(dim=(0, 1))
    by_sentence = gradient.sum(dim=0)
    return by_sentence.abs().sum(dim=0) if per == "sentence" else by_sentence.sum(dim=0).abs()


def normalised(scores: Scores) -> Scores:
    """Divided by the L2 norm over the parts of the same module (Molchanov et al. 2017).

    A module of only zeros stays zero. Blocks, one a layer, are left as they are.
    """
    return {
        kind: {name: v if kind == "blocks" else _unit(v) for name, v in modules.items()}
        for kind, modules in scores.items()
    }


def _unit(values: Tensor) -> Tensor:
    norm = values.norm()
    return values / norm if norm > 0 else values


def flat(scores: Mapping[str, Tensor]) -> Tensor:
    """All parts of a kind in one vector, in the order of the anatomy."""
    return torch.cat([scores[name] for name in scores]) if scores else torch.zeros(0)
