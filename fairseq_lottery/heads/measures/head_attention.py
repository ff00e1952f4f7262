"""What every head looks at: its attention weights, and how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.importance import Scores


@contextmanager
def watched_heads(
    model: nn.Module, anatomy: Anatomy, seen: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """While inside, ``seen`` is called with the attention weights of every head.

    fairseq's fused attention gives their mean only, so it is off meanwhile.

    Args:
        seen: takes a module and the weights of its heads, (heads, batch, queries, keys).
    """
    modules: dict[str, Any] = dict(model.named_modules())

    def watching(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*given: Any, **named: Any) -> Any:
            asked = {key: named.get(key, False) for key in ("need_weights", "need_head_weights")}
            output, weights = forward(*given, **{**named, "need_head_weights": True})
            seen(name, weights.detach())
            if not asked["need_head_weights"]:
                weights = weights.mean(dim=0) if asked["need_weights"] else None
            return output, weights

        return watch

    for name in anatomy.heads:
        modules[name].forward = watching(name, modules[name].forward)
    try:
        with modules_are_used(model):
            yield
    finally:
        for name in anatomy.heads:
            del modules[name].forward


def attention_of(
    model: nn.Module, anatomy: Anatomy, batch: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a model on a batch of fairseq's.

    Returns:
        Module -> attention weights of its heads, (heads, batch, queries, keys); and ``encoder``
        and ``decoder``, if there is one -> its input tokens, (batch, time).
    """
    weights: dict[str, Tensor] = {}
    given = batch["net_input"]
    with watched_heads(model, anatomy, weights.__setitem__), torch.no_grad():
        model(**given)
    previous: Optional[Tensor] = given.get("prev_output_tokens")
    decoder = {} if previous is None else {"decoder": previous}
    return weights, {"encoder": given["src_tokens"], **decoder}


def mean_over_queries(anatomy: Anatomy, found: Iterable[tuple[str, Tensor, Tensor]]) -> Scores:
    """Return the mean over query tokens of a number that every head has at each of them.

    Args:
        found: module, numbers (heads, batch, queries), and which queries count (batch, queries).
    """
    totals = {n: torch.zeros(size, dtype=torch.float64) for n, size in anatomy.heads.items()}
    counts = dict.fromkeys(anatomy.heads, 0)
    for name, numbers, real in found:
        totals[name] += numbers[:, real].double().sum(dim=1).cpu()
        counts[name] += int(real.sum())
    if not any(counts.values()):
        raise LotteryError("there is no data to see what heads look at")
    return {"heads": {name: totals[name] / max(counts[name], 1) for name in totals}}


def confidence(
    model: nn.Module, anatomy: Anatomy, batches: Iterable[Any], eos: int, pad: int
) -> Scores:
    """Mean of a head's largest attention weight over query tokens (Voita et al. 2019, section 4).

    Queries and keys that are ``</s>`` are left out, the first ones of fairseq's decoder inputs
    among them; so are queries that see no other key.

    Raises:
        LotteryError: there is no data, or a decoder looks at the source and at itself at once.
    """

    def largest() -> Iterator[tuple[str, Tensor, Tensor]]:
        for batch in batches:
            latest, tokens = attention_of(model, anatomy, batch)
            real = {side: (one != eos) & (one != pad) for side, one in tokens.items()}
            for name, weights in latest.items():
                queries = real[name.partition(".")[0]]
                keys = real["encoder"] if name.endswith("encoder_attn") else queries
                if weights.shape[-1] != keys.shape[-1]:
                    raise LotteryError(
                        f"{name} looks at source and target at once, as --cross-self-attention"
                        " makes it, and confidence is of one of them; choose another --measure"
                    )
                best = weights.masked_fill(~keys[None, :, None, :], 0).amax(dim=-1)
                yield name, best, queries & (best > 0).any(dim=0)

    return mean_over_queries(anatomy, largest())
