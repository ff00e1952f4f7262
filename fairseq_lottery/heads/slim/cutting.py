"""Cut heads and FFN units that contribute nothing out of a model: smaller matrices, no zeros.

The cut model computes the same as the model with zeros. The numbers of heads and units may differ
between layers, and a layer may keep none. fairseq cuts heads out of its own ``AdaPrune`` models in
the same way: an attention module gets fewer heads of the same width, and the check of its input
width is off, so no fused path that requires square matrices is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq_lottery.adapters import group_of
from fairseq_lottery.errors import LotteryError
from fairseq_lottery.heads.components.anatomy import Anatomy
from fairseq_lottery.heads.components.component_mask import ComponentMask
from fairseq_lottery.heads.components.pruned_weights import (
    find_pruned,
    has_nonzeros,
    pruned_tensors,
)
from fairseq_lottery.masks import shapes_of

#: activations whose output for zero is zero: all that fairseq trains with
_ZERO_AT_ZERO = ("relu", "relu_squared", "gelu", "gelu_fast", "gelu_accurate", "tanh", "linear")
#: a restored model may have this many times the stored weights, and this many weights
_MOST_TIMES, _MOST_WEIGHTS = 64, 1 << 24


def find_idle(weights: Mapping[str, Tensor], anatomy: Anatomy, activation: str) -> ComponentMask:
    """Return the components that contribute nothing, so that cutting them changes nothing.

    These are the heads and units that ``find_pruned`` finds, heads whose values are all zero, and
    units whose input is zero where ``activation`` of zero is zero. Heads that attend evenly are not
    among them, because they output the mean of their values. Nor are the units of a layer that
    normalises over all of them (fairseq's ``--scale-fc``).

    Returns:
        A mask that prunes heads and units only; a pruned block is all units of its layer.
    """
    pruned = find_pruned(weights, anatomy)
    kept: dict[str, dict[str, Tensor]] = {"heads": {}, "units": {}}
    for name, count in anatomy.heads.items():
        kept["heads"][name] = _has_output(weights, f"{name}.v_proj", count)
        if pruned.mode == "zero":
            kept["heads"][name] &= pruned["heads"][name]
    for name, count in anatomy.units.items():
        keep = pruned.kept_units(name)
        if activation in _ZERO_AT_ZERO:
            keep = keep & _has_output(weights, f"{name}.fc1", count)
        if f"{name}.ffn_layernorm.weight" in weights:
            keep = torch.ones(count, dtype=torch.bool)
        kept["units"][name] = keep
    return ComponentMask.of(anatomy, kept)


def _has_output(weights: Mapping[str, Tensor], layer: str, groups: int) -> Tensor:
    """Return for each of ``groups`` components of a layer whether any output is not zero."""
    nonzero = torch.zeros(groups, dtype=torch.bool)
    for name in (f"{layer}.weight", f"{layer}.bias"):
        if name in weights:
            nonzero |= has_nonzeros(weights[name], groups)
    return nonzero


def cut_weights(weights: Mapping[str, Tensor], components: ComponentMask) -> dict[str, Tensor]:
    """Return a state dict without pruned heads and units; leave out empty tensors.

    Raises:
        LotteryError: the shape of an entry does not match ``components``.
    """
    smaller = dict(weights)
    for name, dim, keep in _places(weights, components):
        tensor = weights[name]
        if not bool(keep.any()):
            del smaller[name]
        elif dim >= tensor.dim() or tensor.shape[dim] != keep.numel():
            raise LotteryError(
                f"{name} has shape {tuple(tensor.shape)}, expected {keep.numel()} in dimension"
                f" {dim}"
            )
        else:
            numbers = torch.nonzero(keep).flatten().to(tensor.device)
            smaller[name] = tensor.detach().index_select(dim, numbers)
    return smaller


def with_zeros(weights: Mapping[str, Tensor], components: ComponentMask) -> dict[str, Tensor]:
    """Return the weights with zeros where components were cut: the inverse of ``cut_weights``."""
    shapes, restored = restored_shapes(weights, components), dict(weights)
    for name, dim, keep in _places(weights, components):
        bias = weights[_bias_of(name)]
        restored[name] = torch.zeros(shapes[name], dtype=bias.dtype)
        if name in weights:
            restored[name].index_copy_(dim, torch.nonzero(keep).flatten(), weights[name])
    return restored


def restored_shapes(
    weights: Mapping[str, Tensor], components: ComponentMask
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of ``with_zeros`` without allocating the tensors.

    Raises:
        LotteryError: the shape of an entry does not match ``components``, its type differs from the
            rest of its module, or the restored model would exceed the size limits.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, dim, keep in _places(weights, components):
        if (name in weights) != bool(keep.any()):
            raise LotteryError(f"{name} does not match the settings of the cut model")
        types = {weights[one].dtype for one in (name, _bias_of(name)) if one in weights}
        if len(types) > 1 or not next(iter(types)).is_floating_point:
            raise LotteryError(f"{name} and {_bias_of(name)} must have one floating-point type")
        shape = list(weights[name].shape) if name in weights else _shape_of(weights, name)
        if dim >= len(shape) or (name in weights and shape[dim] != int(keep.sum())):
            raise LotteryError(f"the shape of {name} does not match the settings of the cut model")
        shapes[name] = (*shape[:dim], keep.numel(), *shape[dim + 1 :])
    stored = sum(tensor.numel() for tensor in weights.values())
    total = sum(map(math.prod, shapes.values()))
    if total > max(_MOST_WEIGHTS, _MOST_TIMES * stored):
        raise LotteryError(
            f"the cut model has {stored} weights, but restored it would have {total}"
        )
    return {**shapes_of(weights), **shapes}


def _places(
    weights: Mapping[str, Tensor], components: ComponentMask
) -> Iterator[tuple[str, int, Tensor]]:
    """Yield each tensor that is cut, the dimension, and which of its indices are kept."""
    if components.mode == "uniform" and components.count_pruned("heads"):
        raise LotteryError(
            "heads that attend evenly output the mean of their values, so they cannot be cut"
        )
    shapes = shapes_of(weights)
    for name, dim, keep in pruned_tensors(components, shapes):
        if len(shapes.get(_bias_of(name), ())) != 1:
            raise LotteryError(f"the model has no vector {_bias_of(name)}")
        yield name, dim, keep


def _bias_of(name: str) -> str:
    """Return the name of the bias after a matrix's module; it belongs to no component."""
    module, layer, _ = name.rsplit(".", 2)
    return f"{module}.{'fc2' if layer.startswith('fc') else 'out_proj'}.bias"


def _shape_of(weights: Mapping[str, Tensor], name: str) -> list[int]:
    """Return the shape of a tensor that was cut as a whole, but for the dimension of the cut."""
    width = weights[_bias_of(name)].numel()
    if name.endswith(".bias"):
        return [0]
    # keys and values of encoder states are as wide as the encoder's layers
    if name.endswith(("encoder_attn.k_proj.weight", "encoder_attn.v_proj.weight")):
        names = (n for n in weights if group_of(n) == "enc_ffn" and n.endswith("fc2.bias"))
        width = next((weights[n].numel() for n in names), width)
    return [width, width]


def cut(model: nn.Module, components: ComponentMask) -> None:
    """Cut pruned heads and units out of fairseq's Transformer, in place.

    The model may be untrained, to load a cut checkpoint, or trained.
    """
    refuse_other(model, components)
    modules = dict(model.named_modules())
    weights = dict(model.named_parameters())
    for name, smaller in cut_weights(weights, components).items():
        if smaller is weights[name]:
            continue
        owner, _, kind = name.rpartition(".")
        linear: Any = modules[owner]
        setattr(linear, kind, nn.Parameter(smaller, weights[name].requires_grad))
        if kind == "weight":
            linear.out_features, linear.in_features = smaller.shape
    for name, keep in components["heads"].items():
        attention: Any = modules[name]
        if not bool(keep.any()):
            owner, _, attribute = name.rpartition(".")
            setattr(modules[owner], attribute, NoHeads(attention.out_proj.bias))
        elif not bool(keep.all()):
            attention.num_heads = int(keep.sum())
            attention.embed_dim = attention.num_heads * attention.head_dim
            attention.skip_embed_dim_check = True
    for name in components.anatomy.units:
        layer: Any = modules[name]
        if not bool(components.kept_units(name).any()):
            layer.fc1, layer.fc2 = Nothing(), Bias(layer.fc2.bias)
    for module in modules.values():
        _disable_fused_path(module)


def refuse_other(model: nn.Module, components: ComponentMask) -> None:
    """Refuse components of another model than ``model``, which is not cut yet."""
    heads, units = {}, {}
    module: Any
    for name, module in model.named_modules():
        if name.endswith("_attn") and hasattr(module, "num_heads") and hasattr(module, "out_proj"):
            heads[name] = module.num_heads
        if hasattr(module, "fc1") and hasattr(module, "fc2"):
            units[name] = module.fc1.out_features
    refuse_other_anatomy(Anatomy(heads, units), components)


def refuse_other_anatomy(anatomy: Anatomy, components: ComponentMask) -> None:
    """Refuse components of a model with another anatomy."""
    if anatomy != components.anatomy:
        raise LotteryError(
            "the heads and units that were cut do not match the model that the settings build"
        )


class Nothing(nn.Module):
    """A linear layer without outputs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return an empty tensor: (..., width) -> (..., 0)."""
        return x[..., :0]


class Bias(nn.Module):
    """A linear layer without inputs: it returns its bias."""

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the bias at every position: (..., any width) -> (..., width)."""
        return self.bias.expand(*x.shape[:-1], -1)


class NoHeads(nn.Module):
    """Attention without heads: it returns the bias of its output projection for any input.

    It has no state between decoding steps. Attention weights (for alignments) are those of heads of
    zeros: the same for each token that is not padding.
    """

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.out_proj = Bias(bias)

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor] = None,
        value: Optional[Tensor] = None,
        key_padding_mask: Optional[Tensor] = None,
        need_weights: bool = True,
        need_head_weights: bool = False,
        **named: Any,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Attend as fairseq's modules do: (time, batch, width), weights (batch, time, keys)."""
        weights = None
        if key is not None and (need_weights or need_head_weights):
            tokens = query.new_ones(key.shape[1], key.shape[0])
            if key_padding_mask is not None:
                tokens = tokens.masked_fill(key_padding_mask.bool(), 0)
            even = (tokens / tokens.sum(dim=1, keepdim=True)).unsqueeze(1)
            weights = even.expand(-1, query.shape[0], -1)
            weights = weights.unsqueeze(0) if need_head_weights else weights
        return self.out_proj(query), weights

    def _get_input_buffer(self, state: Any) -> dict[str, Optional[Tensor]]:
        """Return the cache that fairseq's decoder layer reads: an empty one."""
        return {}


def _disable_fused_path(layer: Any) -> None:
    """Disable the fused path of an encoder layer of fairseq 0.12.2, and drop its weight copies.

    The first layer chooses the fused path for the whole encoder, and it requires one width for all
    matrices; loading a checkpoint would copy the weights and enable it. Remove this function when
    0.12.2 is no longer supported.
    """
    if hasattr(layer, "load_to_BT"):
        layer.load_to_BT = False
        for name, _ in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
        layer._load_from_state_dict = partial(nn.Module._load_from_state_dict, layer)
