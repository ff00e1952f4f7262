"""Gates on a live model: a factor on the output of every head, FFN unit and FFN block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.heads.components.anatomy import Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.parts import Parts


class Gates:
    """Gates of a model: 1 is open, 0 is closed, anything between is a factor.

    A head's output is multiplied before the output projection, a unit's before the second matrix
    of the FFN, and a block's gate multiplies all units of its layer; so pre- and post-norm layers
    are gated alike. The biases behind those matrices are no part's: attention without an open
    head, and a closed block, still add theirs. (Prasanna et al. 2020 multiply the FFN's bias too.)
    Under ``uniform`` a closed head attends evenly instead.

    Args:
        model: fairseq's Transformer, or one made of its layers.
        anatomy: of it.

    Attributes:
        values: kind -> module -> fp32 factors, one for each part; changed in place or replaced,
            they count from the next forward on, and gradients flow into them.
        mode: what closed heads give, see ``fairseq_lottery.heads.components.parts.MODES``; under
            ``uniform`` heads are open or closed, nothing between.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self.model, self.anatomy, self.mode = model, anatomy, "zero"
        self._modules: dict[str, Any] = dict(model.named_modules())
        self.values: dict[str, dict[str, Tensor]] = {
            kind: {name: torch.ones(size) for name, size in sizes.items()}
            for kind, sizes in anatomy.sizes.items()
        }
        self._watched: Optional[dict[tuple[str, str], list[Tensor]]] = None

    def set(self, parts: Parts) -> None:
        """Open what ``parts`` has open and close the rest."""
        refuse_inner_norm(parts.cut_layers, dict(self.model.named_parameters()))
        self.mode = parts.mode
        self.values = {
            kind: {name: parts[kind][name].float() for name in modules}
            for kind, modules in self.values.items()
        }

    @contextmanager
    def attached(self) -> Iterator[Gates]:
        """While inside, the gates act: in training, teacher forcing and step-by-step decoding.

        fairseq's fused paths call no modules, so they are off meanwhile.
        """
        hooks: list[Any] = []
        for name in self.anatomy.heads:
            attention = self._modules[name]
            hooks.append(attention.out_proj.register_forward_pre_hook(self._gate_heads(name)))
            hooks.append(attention.q_proj.register_forward_hook(self._even_heads(name)))
        for name in self.anatomy.units:
            second = self._modules[name].fc2
            hooks.append(second.register_forward_pre_hook(self._gate_ffn(name)))
        try:
            with modules_are_used(self.model):
                yield self
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def watched(self) -> Iterator[dict[tuple[str, str], list[Tensor]]]:
        """While inside, each forward through a gate leaves its own copy of the factors.

        Yields:
            (kind, module) -> a tensor per forward, of shape (time, batch, parts), that has its
            gradient after a backward: dL/dgate at every position of every sentence.
        """
        self._watched = {}
        try:
            yield self._watched
        finally:
            self._watched = None

    def _factor(self, kind: str, name: str, positions: torch.Size, like: Tensor) -> Tensor:
        values = self.values[kind][name].to(like.device, like.dtype)
        if kind == "heads" and self.mode == "uniform":
            values = torch.ones_like(values)  # closed heads look elsewhere, what they give counts
        if self._watched is None:
            return values
        local = values.detach().expand(*positions, -1).clone().requires_grad_()
        self._watched.setdefault((kind, name), []).append(local)
        return local

    def _gate_heads(self, name: str) -> Any:
        def gate(module: nn.Module, given: tuple[Tensor, ...]) -> Any:
            heads = given[0].unflatten(-1, (self.anatomy.heads[name], -1))
            factor = self._factor("heads", name, given[0].shape[:-1], given[0])
            return ((heads * factor.unsqueeze(-1)).flatten(-2), *given[1:])

        return gate

    def _even_heads(self, name: str) -> Any:
        def even(module: nn.Module, given: Any, query: Tensor) -> Any:
            if self.mode != "uniform":
                return None
            heads = query.unflatten(-1, (self.anatomy.heads[name], -1))
            opened = self.values["heads"][name].to(query.device) != 0
            return heads.masked_fill(~opened.unsqueeze(-1), 0).flatten(-2)

        return even

    def _gate_ffn(self, name: str) -> Any:
        def gate(module: nn.Module, given: tuple[Tensor, ...]) -> Any:
            units, positions = given[0], given[0].shape[:-1]
            for kind in ("units", "blocks"):
                units = units * self._factor(kind, name, positions, units)
            return (units, *given[1:])

        return gate
