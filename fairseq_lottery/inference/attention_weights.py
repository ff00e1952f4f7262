"""Attention weights of every head of a fairseq model while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Callable

from torch import Tensor, nn

from fairseq_lottery.compat import modules_are_used


@contextmanager
def watched_heads(
    model: nn.Module, names: Iterable[str], observe: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call ``observe`` with the attention weights of every head, within the context.

    fairseq's fused attention returns only their mean over heads, so it is off meanwhile.

    Args:
        names: names of the attention modules.
        observe: takes a module and the weights of its heads, (heads, batch, queries, keys).
    """
    modules: dict[str, Any] = dict(model.named_modules())

    def watch(name: str, forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        output, weights = forward(*args, **{**named, "need_head_weights": True})
        observe(name, weights.detach())
        if not named.get("need_head_weights", False):
            weights = weights.mean(dim=0) if named.get("need_weights", False) else None
        return output, weights

    watched = list(names)
    for name in watched:
        modules[name].forward = partial(watch, name, modules[name].forward)
    try:
        with modules_are_used(model):
            yield
    finally:
        for name in watched:
            del modules[name].forward
