"""Heads and FFN units that contribute nothing, cut out: smaller matrices in the place of zeros.

What is left calculates what the model with the zeros does. The numbers of heads and of units may
differ from layer to layer, and a layer may keep none. fairseq cuts heads of its own ``AdaPrune``
models in the same way: an attention of fewer heads of the same width, whose check of the width of
its input is off, so that no fused path that knows square matrices only is taken.
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
from fairseq_lottery.heads.components.parts import Parts
from fairseq_lottery.heads.components.pruned_weights import closed_in, has_nonzeros

#: of fairseq's activations, those that make nothing of nothing: all that it trains with
_ZERO_AT_ZERO = ("relu", "relu_squared", "gelu", "gelu_fast", "gelu_accurate", "tanh", "linear")
#: what comes back with its zeros may be this many times what is stored, and this many weights
_MOST_TIMES, _MOST_WEIGHTS = 64, 1 << 24


def idle(weights: Mapping[str, Tensor], anatomy: Anatomy, activation: str) -> Parts:
    """The parts that contribute nothing, so that cutting them out changes nothing.

    These are the heads and units that ``closed_in`` finds, heads that all of their values are zero
    in, and units that get nothing, which ``activation`` makes nothing of. Heads that attend evenly
    are not among them: the mean of their values is what they give. Nor are the units of a layer
    that normalises over all of them (fairseq's ``--scale-fc``).

    Returns:
        Only heads and units are closed in it; a closed block is all units of its layer.
    """
    found = closed_in(weights, anatomy)
    opened: dict[str, dict[str, Tensor]] = {"heads": {}, "units": {}}
    for name, count in anatomy.heads.items():
        opened["heads"][name] = _any(weights, f"{name}.v_proj", count)
        if found.mode == "zero":
            opened["heads"][name] &= found["heads"][name]
    for name, count in anatomy.units.items():
        keep = found["units"][name] & found["blocks"][name]
        if activation in _ZERO_AT_ZERO:
            keep = keep & _any(weights, f"{name}.fc1", count)
        if f"{name}.ffn_layernorm.weight" in weights:
            keep = torch.ones(count, dtype=torch.bool)
        opened["units"][name] = keep
    return Parts.of(anatomy, opened)


def _any(weights: Mapping[str, Tensor], layer: str, parts: int) -> Tensor:
    """Return which of a layer's outputs are anything but zero, part by part."""
    seen = torch.zeros(parts, dtype=torch.bool)
    for name in (f"{layer}.weight", f"{layer}.bias"):
        if name in weights:
            seen |= has_nonzeros(weights[name], parts)
    return seen


def cut_weights(weights: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """The entries of a state dict without the closed heads and units; empty ones are left out.

    Raises:
        LotteryError: an entry has not the size that ``parts`` says.
    """
    found = dict(weights)
    for name, dim, keep in _places(weights, parts):
        tensor = weights[name]
        if not bool(keep.any()):
            del found[name]
        elif dim >= tensor.dim() or tensor.shape[dim] != keep.numel():
            raise LotteryError(f"{name} has the shape {tuple(tensor.shape)}, not what is to be cut")
        else:
            numbers = torch.nonzero(keep).flatten().to(tensor.device)
            found[name] = tensor.detach().index_select(dim, numbers)
    return found


def with_zeros(weights: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """The inverse of ``cut_weights`` where what was cut was zero: zeros in the old places."""
    shapes, found = whole_shapes(weights, parts), dict(weights)
    for name, dim, keep in _places(weights, parts):
        bias = weights[_bias_of(name)]
        found[name] = torch.zeros(shapes[name], dtype=bias.dtype)
        if name in weights:
            found[name].index_copy_(dim, torch.nonzero(keep).flatten(), weights[name])
    return found


def whole_shapes(weights: Mapping[str, Tensor], parts: Parts) -> dict[str, tuple[int, ...]]:
    """The shapes that ``with_zeros`` gives; nothing is made.

    Raises:
        LotteryError: an entry has not the size that ``parts`` says or is of another type than the
            rest of its module, or the model would become larger than any that was cut.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, dim, keep in _places(weights, parts):
        if (name in weights) != bool(keep.any()):
            raise LotteryError(f"{name} is not what the cut model's settings say")
        types = {weights[one].dtype for one in (name, _bias_of(name)) if one in weights}
        if len(types) > 1 or not next(iter(types)).is_floating_point:
            raise LotteryError(f"{name} and {_bias_of(name)} are not of one type of real numbers")
        shape = list(weights[name].shape) if name in weights else _shape_of(weights, name)
        if dim >= len(shape) or (name in weights and shape[dim] != int(keep.sum())):
            raise LotteryError(f"{name} has not the size that the cut model's settings say")
        shapes[name] = (*shape[:dim], keep.numel(), *shape[dim + 1 :])
    stored = sum(tensor.numel() for tensor in weights.values())
    wanted = sum(map(math.prod, shapes.values()))
    if wanted > max(_MOST_WEIGHTS, _MOST_TIMES * stored):
        raise LotteryError(f"the cut model has {stored} weights and would be of {wanted}")
    return {**{name: tuple(tensor.shape) for name, tensor in weights.items()}, **shapes}


def _places(weights: Mapping[str, Tensor], parts: Parts) -> Iterator[tuple[str, int, Tensor]]:
    """Each tensor that is cut, the dimension, and a bool for each index of it: True stays."""
    if parts.mode == "uniform" and parts.count_closed("heads"):
        raise LotteryError("heads that attend evenly give the mean of their values; cut none such")
    for name, keep in parts["heads"].items():
        if bool(keep.all()):
            continue
        bias = weights.get(f"{name}.out_proj.bias")
        divides = bias is not None and bias.dim() == 1 and bias.numel() % keep.numel() == 0
        if bias is None or not divides or not bias.numel():
            raise LotteryError(f"the model has no attention {name} of {keep.numel()} heads")
        rows = keep.repeat_interleave(bias.numel() // keep.numel())
        yield from ((f"{name}.{p}_proj.{k}", 0, rows) for p in "qkv" for k in ("weight", "bias"))
        yield f"{name}.out_proj.weight", 1, rows
    for name, units in parts["units"].items():
        keep = units & parts["blocks"][name]
        if bool(keep.all()):
            continue
        bias = weights.get(f"{name}.fc2.bias")
        if bias is None or bias.dim() != 1:
            raise LotteryError(f"the model has no FFN {name}")
        yield from ((f"{name}.fc1.weight", 0, keep), (f"{name}.fc1.bias", 0, keep))
        yield f"{name}.fc2.weight", 1, keep


def _bias_of(name: str) -> str:
    """The bias behind what a matrix belongs to: no part's, it is there whatever was cut."""
    module, layer, _ = name.rsplit(".", 2)
    return f"{module}.{'fc2' if layer.startswith('fc') else 'out_proj'}.bias"


def _shape_of(weights: Mapping[str, Tensor], name: str) -> list[int]:
    """Of a tensor that nothing was left of, but for the dimension that was cut."""
    width = weights[_bias_of(name)].numel()
    if name.endswith(".bias"):
        return [0]
    # keys and values of the encoder's states, which are as wide as its layers
    if name.endswith(("encoder_attn.k_proj.weight", "encoder_attn.v_proj.weight")):
        names = (n for n in weights if group_of(n) == "enc_ffn" and n.endswith("fc2.bias"))
        width = next((weights[n].numel() for n in names), width)
    return [width, width]


def cut(model: nn.Module, parts: Parts) -> None:
    """Cut the closed heads and units out of fairseq's Transformer, in place.

    It holds for freshly built models, which then take a cut checkpoint, and for trained ones.
    """
    refuse_other(model, parts)
    modules = dict(model.named_modules())
    weights = dict(model.named_parameters())
    for name, smaller in cut_weights(weights, parts).items():
        if smaller is weights[name]:
            continue
        owner, _, kind = name.rpartition(".")
        linear: Any = modules[owner]
        setattr(linear, kind, nn.Parameter(smaller, weights[name].requires_grad))
        if kind == "weight":
            linear.out_features, linear.in_features = smaller.shape
    for name, keep in parts["heads"].items():
        attention: Any = modules[name]
        if not bool(keep.any()):
            owner, _, attribute = name.rpartition(".")
            setattr(modules[owner], attribute, NoHeads(attention.out_proj.bias))
        elif not bool(keep.all()):
            attention.num_heads = int(keep.sum())
            attention.embed_dim = attention.num_heads * attention.head_dim
            attention.skip_embed_dim_check = True
    for name, keep in parts["units"].items():
        layer: Any = modules[name]
        if not bool((keep & parts["blocks"][name]).any()):
            layer.fc1, layer.fc2 = Nothing(), Bias(layer.fc2.bias)
    for module in modules.values():
        _leave_fused(module)


def refuse_other(model: nn.Module, parts: Parts) -> None:
    """Refuse parts of another model than this one, which nothing was cut out of yet."""
    heads, units = {}, {}
    module: Any
    for name, module in model.named_modules():
        if name.endswith("_attn") and hasattr(module, "num_heads") and hasattr(module, "out_proj"):
            heads[name] = module.num_heads
        if hasattr(module, "fc1") and hasattr(module, "fc2"):
            units[name] = module.fc1.out_features
    refuse_other_anatomy(Anatomy(heads, units), parts)


def refuse_other_anatomy(anatomy: Anatomy, parts: Parts) -> None:
    """Refuse parts of another model than one of an anatomy."""
    if anatomy != parts.anatomy:
        raise LotteryError(
            "the heads and units that were cut are not those of the model that the settings build"
        )


class Nothing(nn.Module):
    """A linear layer that no output is left of."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., 0)."""
        return x[..., :0]


class Bias(nn.Module):
    """A linear layer that only the bias is left of."""

    def __init__(self, bias: nn.Parameter) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., any width) -> (..., width), the same vector at every position."""
        return self.bias.expand(*x.shape[:-1], -1)


class NoHeads(nn.Module):
    """Attention that no head is left of: it gives the bias behind its heads, whatever it sees.

    It keeps nothing from step to step. Asked for weights of attention (for alignments), it says
    what heads of zeros would: each token that is there gets the same.
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
        """As fairseq's: (time, batch, width) in and out, weights (batch, time, keys)."""
        weights = None
        if key is not None and (need_weights or need_head_weights):
            seen = query.new_ones(key.shape[1], key.shape[0])
            if key_padding_mask is not None:
                seen = seen.masked_fill(key_padding_mask.bool(), 0)
            even = (seen / seen.sum(dim=1, keepdim=True)).unsqueeze(1)
            weights = even.expand(-1, query.shape[0], -1)
            weights = weights.unsqueeze(0) if need_head_weights else weights
        return self.out_proj(query), weights

    def _get_input_buffer(self, state: Any) -> dict[str, Optional[Tensor]]:
        """What fairseq's decoder layer asks an attention for."""
        return {}


def _leave_fused(layer: Any) -> None:
    """Let an encoder layer of fairseq 0.12.2 take its ordinary path, without copies of its weights.

    Its fused path, which the first layer chooses for the whole encoder, knows one width for all
    matrices; loading a checkpoint would copy them for it and switch it on. Removable when 0.12.2 is
    no longer supported.
    """
    if hasattr(layer, "load_to_BT"):
        layer.load_to_BT = False
        for name, _ in list(layer.named_parameters(recurse=False)):
            delattr(layer, name)
        layer._load_from_state_dict = partial(nn.Module._load_from_state_dict, layer)
