"""Gates on a loaded model: a factor on the output of every head, FFN unit and FFN block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.compat import modules_are_used
from fairseq_lottery.heads.components.anatomy import Anatomy, refuse_inner_norm
from fairseq_lottery.heads.components.component_mask import ComponentMask


class Gates:
    """Gates of a model: 1 is open, 0 is closed, values between are factors.

    The gate of a head multiplies its output before the output projection. The gate of a unit
    multiplies its output before the second matrix of the FFN. The gate of a block multiplies all
    units of its layer. So pre-norm and post-norm layers have the same gates.

    The biases after these matrices belong to no component. They are added even if all gates of an
    attention module, or the gate of a block, are closed. (Prasanna et al. 2020 multiply the FFN's
    bias too.) Under ``uniform`` a head with a closed gate attends evenly instead.

    Args:
        model: fairseq's Transformer, or a model made of its layers.
        anatomy: anatomy of the model.

    Attributes:
        values: kind -> module -> fp32 factors, one for each component. Changed or replaced values
            apply from the next forward pass on, and gradients flow into them.
        mode: output of pruned heads, see ``component_mask.MODES``; under ``uniform`` a head's gate
            is 0 or 1, nothing between.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self.model, self.anatomy, self.mode = model, anatomy, "zero"
        self._modules: dict[str, Any] = dict(model.named_modules())
        self.values: dict[str, dict[str, Tensor]] = {
            kind: {name: torch.ones(size) for name, size in sizes.items()}
            for kind, sizes in anatomy.sizes.items()
        }
        self._watched: Optional[dict[tuple[str, str], list[Tensor]]] = None

    def set(self, components: ComponentMask) -> None:
        """Open the gates of kept components and close those of pruned ones."""
        refuse_inner_norm(components.layers_with_pruned_ffn, dict(self.model.named_parameters()))
        self.mode = components.mode
        self.values = {
            kind: {name: components[kind][name].float() for name in modules}
            for kind, modules in self.values.items()
        }

    @contextmanager
    def attached(self) -> Iterator[Gates]:
        """Apply the gates within the context: in training, teacher forcing and decoding.

        fairseq's fused paths call no modules, so they are off meanwhile.
        """
        hooks: list[Any] = []
        for name in self.anatomy.heads:
            attention = self._modules[name]
            gate, even = partial(self._gate_heads, name), partial(self._even_heads, name)
            hooks.append(attention.out_proj.register_forward_pre_hook(gate))
            hooks.append(attention.q_proj.register_forward_hook(even))
        for name in self.anatomy.units:
            gate = partial(self._gate_ffn, name)
            hooks.append(self._modules[name].fc2.register_forward_pre_hook(gate))
        try:
            with modules_are_used(self.model):
                yield self
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def watched(self) -> Iterator[dict[tuple[str, str], list[Tensor]]]:
        """Record a copy of the factors for each forward pass through a gate, within the context.

        Yields:
            (kind, module) -> a tensor per forward pass, of shape (time, batch, components). After a
            backward pass it has a gradient: dL/dgate at every position of every sentence.
        """
        self._watched = {}
        try:
            yield self._watched
        finally:
            self._watched = None

    def _factor(self, kind: str, name: str, positions: torch.Size, like: Tensor) -> Tensor:
        values = self.values[kind][name].to(like.device, like.dtype)
        if kind == "heads" and self.mode == "uniform":
            values = torch.ones_like(values)  # heads with closed gates attend evenly
        if self._watched is None:
            return values
        local = values.detach().expand(*positions, -1).clone().requires_grad_()
        self._watched.setdefault((kind, name), []).append(local)
        return local

    def _gate_heads(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        heads = inputs[0].unflatten(-1, (self.anatomy.heads[name], -1))
        factor = self._factor("heads", name, inputs[0].shape[:-1], inputs[0])
        return ((heads * factor.unsqueeze(-1)).flatten(-2), *inputs[1:])

    def _even_heads(self, name: str, module: nn.Module, inputs: Any, query: Tensor) -> Any:
        if self.mode != "uniform":
            return None
        heads = query.unflatten(-1, (self.anatomy.heads[name], -1))
        is_open = self.values["heads"][name].to(query.device) != 0
        return heads.masked_fill(~is_open.unsqueeze(-1), 0).flatten(-2)

    def _gate_ffn(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        units, positions = inputs[0], inputs[0].shape[:-1]
        for kind in ("units", "blocks"):
            units = units * self._factor(kind, name, positions, units)
        return (units, *inputs[1:])
