"""What a training has changed of each head: whether those that stay take over from the closed ones.

Budhraja et al. 2020 study such compensation, without a published measure; these are ours. Held
against an unpruned run that was trained as long, what is left over is the closing's doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.measures.head_attention import attention_of, mean_over_queries
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.weight_norms import l2


def weight_change(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], anatomy: Anatomy
) -> Scores:
    """||after - before|| / ||before|| over all that a head has, see ``weight_norms.l1``.

    A head whose weights were all zero has changed by 0 where they still are, by 1 otherwise.
    """
    names = {f"{name}.{p}_proj.{k}" for name in anatomy.heads for p in ("q", "k", "v", "out")
             for k in ("weight", "bias")}  # fmt: skip
    shared = names & set(before) & set(after)
    for name in shared:
        if before[name].shape != after[name].shape:
            raise LotteryError(f"{name} has another shape before than after")
    heads = Anatomy(anatomy.heads, {})
    moved = l2({name: after[name].double() - before[name].double() for name in shared}, heads)
    size = l2({name: before[name] for name in shared}, heads)
    return {"heads": {n: _share(moved["heads"][n], size["heads"][n]) for n in anatomy.heads}}


def _share(moved: Tensor, size: Tensor) -> Tensor:
    return torch.where(size > 0, moved / size.clamp(min=1e-300), (moved > 0).to(moved.dtype))


def attention_change(
    before: nn.Module, after: nn.Module, anatomy: Anatomy, batches: Iterable[Any], pad: int
) -> Scores:
    """Mean total variation distance, 0 to 1, of what a head looks at before and after."""

    def distances() -> Iterator[tuple[str, Tensor, Tensor]]:
        for batch in batches:
            first, tokens = attention_of(before, anatomy, batch)
            second, _ = attention_of(after, anatomy, batch)
            for name in anatomy.heads:
                distance = (first[name] - second[name]).abs().sum(dim=-1) / 2
                yield name, distance, tokens[name.partition(".")[0]] != pad

    return mean_over_queries(anatomy, distances())


def difference(scores: Scores, control: Scores) -> Scores:
    """``scores`` less those of a control, part by part."""
    return {
        kind: {name: values - control[kind][name] for name, values in modules.items()}
        for kind, modules in scores.items()
    }
