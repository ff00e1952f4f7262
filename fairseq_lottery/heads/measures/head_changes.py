"""How much a training has changed each head: whether kept heads take over from pruned ones.

Budhraja et al. 2020 study such compensation, without a published measure; these are ours. The
difference from an unpruned run that was trained as long is the effect of pruning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy, tensors_of
from fairseq_lottery.heads.measures.head_attention import attention_of, mean_over_queries
from fairseq_lottery.heads.measures.importance import Scores
from fairseq_lottery.heads.measures.weight_norms import l2


def weight_change(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], anatomy: Anatomy
) -> Scores:
    """Return ||after - before|| / ||before|| over all weights of a head, see ``weight_norms.l1``.

    For a head whose weights were all zero it is 0 if they still are, else 1.
    """
    names = {name for attention in anatomy.heads for name, _ in tensors_of(attention)}
    shared = names & set(before) & set(after)
    for name in shared:
        if before[name].shape != after[name].shape:
            raise LotteryError(
                f"{name} has shape {tuple(after[name].shape)} after training, expected"
                f" {tuple(before[name].shape)}"
            )
    heads = Anatomy(anatomy.heads, {})
    moved = l2({name: after[name].double() - before[name].double() for name in shared}, heads)
    size = l2({name: before[name] for name in shared}, heads)
    return {"heads": {n: _share(moved["heads"][n], size["heads"][n]) for n in anatomy.heads}}


def _share(moved: Tensor, size: Tensor) -> Tensor:
    return torch.where(size > 0, moved / size.clamp(min=1e-300), (moved > 0).to(moved.dtype))


def attention_change(
    before: nn.Module, after: nn.Module, anatomy: Anatomy, batches: Iterable[Any], pad: int
) -> Scores:
    """Return the mean total variation distance, 0 to 1, of a head's attention before and after."""

    def distances() -> Iterator[tuple[str, Tensor, Tensor]]:
        for batch in batches:
            first, tokens = attention_of(before, anatomy, batch)
            second, _ = attention_of(after, anatomy, batch)
            for name in anatomy.heads:
                distance = (first[name] - second[name]).abs().sum(dim=-1) / 2
                yield name, distance, tokens[name.partition(".")[0]] != pad

    return mean_over_queries(anatomy, distances())


def difference(scores: Scores, control: Scores) -> Scores:
    """Return ``scores`` minus those of a control, for each component."""
    return {
        kind: {name: values - control[kind][name] for name, values in modules.items()}
        for kind, modules in scores.items()
    }
